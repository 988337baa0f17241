"""A run whose steps TensorFlow compiles; other tests of runs do without."""

import shutil

import pytest
from run_files import checkpoint_names, quiet, result_bits

from keras_deit.training import Run, train_job

pytestmark = pytest.mark.slow


def test_a_compiled_run_that_is_resumed_ends_like_the_run_that_wrote_the_checkpoint(
    tiny_job, tmp_path
):
    job = tiny_job(
        {"optimizer": "lamb", "ema_decay": 0.75},
        {"checkpoint_seconds": 0.0, "keep_checkpoints": 100},
        model_values={"drop_path_rate": 0.3, "dropout_rate": 0.1},
    )
    whole = train_job(job, str(tmp_path / "whole"), quiet)
    name = "epoch-00001-step-0000001.safetensors"
    assert name in checkpoint_names(whole)
    # All that is left of a run that is killed after this checkpoint.
    resumed = Run(tmp_path / "resumed")
    resumed.checkpoints.mkdir(parents=True)
    for path in (whole.config_file, whole.metrics_file, whole.best_weights):
        shutil.copy(path, resumed.path)
    shutil.copy(whole.checkpoints / name, resumed.checkpoints)
    lines = []
    train_job(job, str(resumed.path), lines.append)
    assert any("epoch 2, step 1" in line for line in lines)
    assert result_bits(resumed) == result_bits(whole)
