"""A run of Grafit that is killed resumes to the same bits, its memory too."""

import dataclasses

import numpy as np
import pytest
from safetensors.numpy import load_file

from keras_deit.core.errors import InputError
from keras_deit.objectives import Grafit
from keras_deit.recipes import DIGITS
from keras_deit.training import train_job
from keras_deit.training.loop import TrainingLoop

pytestmark = pytest.mark.backends("torch")


class Killed(Exception):
    """Ends a training between two steps, without anything being saved."""


@pytest.fixture
def job(tiny_job):
    plain = {"mixup_alpha": 0.0, "cutmix_alpha": 0.0, "label_smoothing": 0.0}
    return tiny_job(
        {"batch_size": 200, "epochs": 1},
        {"checkpoint_seconds": 0.0, "coarse": "digits"},
        Grafit(projection_dim=4, projection_hidden_dim=6, augmentations=2),
        augmentation=dataclasses.replace(DIGITS.augmentation, **plain),
    )


def last_checkpoint(path):
    return load_file(max((path / "checkpoints").glob("epoch-*")))


def test_a_killed_run_resumes_to_the_same_bits(job, tmp_path, monkeypatch):
    whole = train_job(job, tmp_path / "whole", lambda line: None)
    step_ends = TrainingLoop.step_ends

    def killed(loop, logs):
        step_ends(loop, logs)
        if loop.progress.step == 3:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(TrainingLoop, "step_ends", killed)
        train_job(job, tmp_path / "killed", lambda line: None)
    resumed = train_job(job, tmp_path / "killed", lambda line: None)
    expected, found = last_checkpoint(whole.path), last_checkpoint(resumed.path)
    assert expected.keys() == found.keys()
    different = [n for n in expected if not np.array_equal(expected[n], found[n])]
    # No step draws from Python's generator; what reads and writes files does.
    assert set(different) <= {"random python"}
    memory = [x for x in expected.values() if x.shape == (1257, 4)]
    # Six steps of 200 images.
    assert len(memory) == 1 and np.count_nonzero(memory[0].any(axis=1)) == 1200
    assert whole.summary["test"] == resumed.summary["test"]
    with pytest.raises(InputError, match="ema_decay"):
        optimization = dataclasses.replace(job.recipe.optimization, ema_decay=0.9)
        recipe = dataclasses.replace(job.recipe, optimization=optimization)
        train_job(dataclasses.replace(job, recipe=recipe), tmp_path / "ema", lambda line: None)
