"""A training that is stopped in the middle and resumed ends like one that is not stopped."""

import dataclasses
import os
import re
import shutil
import signal

import numpy as np
import pytest
from run_files import (
    Killed,
    assert_close,
    before_call,
    checkpoint_names,
    files_no_longer_than,
    kill,
    quiet,
    result_bits,
)

from keras_deit.core.errors import InputError
from keras_deit.evaluation import evaluate_run
from keras_deit.objectives import Supervised
from keras_deit.pretrained import create_model
from keras_deit.pretrained.weights_file import write_weights
from keras_deit.training import Run, Stopped, preparation, train_job, trainer
from keras_deit.training.checkpoints.file import read_checkpoint
from keras_deit.training.loop import TrainingData, TrainingLoop

on_every_backend = pytest.mark.backends("tensorflow", "jax", "torch")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("eager")]


@pytest.fixture(scope="module")
def job(tiny_job):
    """A job with random layers of every kind, checkpointed after every step."""
    return tiny_job(
        {"epochs": 3, "ema_decay": 0.75, "clip_norm": 1.0},
        {"checkpoint_seconds": 0.0},
        model_values={"drop_path_rate": 0.3, "dropout_rate": 0.1},
    )


@pytest.fixture(scope="module")
def whole_run(job, tmp_path_factory, eager):
    return train_job(job, str(tmp_path_factory.mktemp("whole") / "run"), quiet)


@pytest.fixture(scope="module")
def whole(whole_run):
    return result_bits(whole_run)


@on_every_backend
def test_a_run_that_is_killed_three_times_ends_like_one_that_is_not(
    job, whole, tmp_path, monkeypatch
):
    path = str(tmp_path / "run")
    # Killed in the first epoch, in the first step of the third, and in its validation.
    for method, number in (("step_ends", 2), ("step_ends", 4), ("validate", 0)):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            before_call(patch, method, number, kill)
            train_job(job, path, quiet)
    lines = []
    run = train_job(job, path, lines.append)
    assert "epoch 3, step 2" in " ".join(line for line in lines if "Resuming" in line)
    assert result_bits(run) == whole


@pytest.mark.backends("torch")
def test_what_is_drawn_outside_the_steps_makes_no_difference(job, whole, tmp_path, monkeypatch):
    """Such as by a data loader, of which a resumed epoch has one more."""
    import torch

    drawn = []
    before_call(monkeypatch, "validate", 0, lambda: drawn.append(torch.rand(3)))
    assert result_bits(train_job(job, str(tmp_path), quiet)) == whole
    assert drawn


@on_every_backend
@pytest.mark.parametrize(
    ("number", "method", "calls", "where"),
    [
        (signal.SIGTERM, "step_ends", 4, "epoch 2 after step 2"),
        (signal.SIGINT, "validate", 1, "epoch 2 after step 3"),
    ],
)
def test_a_signal_stops_a_run_between_two_steps(
    job, whole, tmp_path, monkeypatch, number, method, calls, where
):
    never = dataclasses.replace(job, checkpoint_seconds=1e6)
    handler = signal.getsignal(number)
    with monkeypatch.context() as patch, pytest.raises(Stopped, match=where) as stopped:
        before_call(patch, method, calls, lambda: os.kill(os.getpid(), number))
        train_job(never, str(tmp_path), quiet)
    assert stopped.value.signal_number == number
    assert signal.getsignal(number) is handler
    (newest, _) = checkpoint_names(Run(tmp_path))
    assert newest in str(stopped.value)
    assert result_bits(train_job(never, str(tmp_path), quiet)) == whole


def test_a_checkpoint_does_not_hold_the_teacher(whole_run):
    newest = whole_run.checkpoints / checkpoint_names(whole_run)[0]
    tensors, metadata = read_checkpoint(newest)
    student = create_model(**whole_run.config["model"])
    numbers = sum(value.size for value in tensors.values() if value.dtype == np.float32)
    # Weights, their averages and two moments; the others are means, a handful of numbers each.
    assert 0 < numbers - 4 * student.count_params() < 40
    assert newest.stat().st_size < 4 * numbers + 25_000
    assert re.fullmatch("[0-9a-f]{16}", metadata["resume_metadata"]["teacher"])


def test_the_newest_checkpoints_and_the_best_weights_are_kept(whole_run):
    assert checkpoint_names(whole_run) == [
        "epoch-00003-step-0000000.safetensors",
        "epoch-00002-step-0000002.safetensors",
    ]
    accuracies = [epoch["val_accuracy"] for epoch in whole_run.history]
    best = max(accuracies)
    assert whole_run.summary["best"] == {
        "epoch": 1 + accuracies.index(best),
        "val_accuracy": best,
    }


def test_a_finished_run_is_not_repeated(whole_run, job, monkeypatch):
    monkeypatch.setattr(TrainingLoop, "train_epoch", kill)
    modified = whole_run.final_weights.stat().st_mtime_ns
    lines = []
    again = train_job(job, str(whole_run.path), lines.append)
    assert again.summary == whole_run.summary
    assert len(lines) == 1 and "finished" in lines[0]
    assert whole_run.final_weights.stat().st_mtime_ns == modified


def test_a_run_is_trained_by_one_process_and_resumes_only_with_the_same_teacher(
    job, tmp_path, monkeypatch
):
    refused = []

    def start_again():
        with pytest.raises(InputError) as error:
            train_job(job, str(tmp_path), quiet)
        refused.append(str(error.value))
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        before_call(patch, "train_epoch", 1, start_again)
        train_job(job, str(tmp_path), quiet)
    assert len(refused) == 1 and "Another process" in refused[0] and str(tmp_path) in refused[0]
    monkeypatch.setattr(trainer, "teacher_fingerprint", lambda teacher: "another")
    with pytest.raises(InputError, match=r"teacher was [0-9a-f]+ and is another now"):
        train_job(job, str(tmp_path), quiet)


def _make_not_finite(monkeypatch, step):
    """Makes the images of a step of the whole training, counted from 1, NaN."""

    def data(batches, *arguments):
        def spoiled(start):
            for number, (images, *rest) in enumerate(batches(start), start + 1):
                yield (images * np.float32(np.nan if number == step else 1), *rest)

        return TrainingData(spoiled, *arguments)

    monkeypatch.setattr(preparation, "TrainingData", data)


@on_every_backend
@pytest.mark.nightly("jax")
def test_a_step_that_is_not_finite_stops_a_run_which_can_resume_without_it(
    job, tmp_path, monkeypatch
):
    _make_not_finite(monkeypatch, step=5)
    with pytest.raises(InputError, match=r"step 5 \(epoch 2\)"):
        train_job(job, str(tmp_path / "run"), quiet)
    run = Run(tmp_path / "run")
    assert checkpoint_names(run)[0] == "epoch-00001-step-0000001.safetensors"
    skipping = dataclasses.replace(job, on_nan="skip")
    train_job(skipping, str(run.path), quiet)
    whole = train_job(skipping, str(tmp_path / "whole"), quiet)
    assert run.summary["skipped_steps"] == whole.summary["skipped_steps"] == 1
    # Not to the bit: the run began with another program, whose mean cannot leave out a step.
    assert_close(run, whole, "final_weights", "ema_weights")


def test_a_full_disk_stops_a_run_which_resumes_from_what_is_there(
    job, whole, tmp_path, monkeypatch
):
    def on_full_disk(model, path):
        with files_no_longer_than(3000):
            write_weights(model, path)

    with monkeypatch.context() as patch:
        patch.setattr("keras_deit.training.run.write_weights", on_full_disk)
        with pytest.raises(InputError, match="disk") as error:
            train_job(job, str(tmp_path), quiet)
    assert "\n" not in str(error.value)
    assert result_bits(train_job(job, str(tmp_path), quiet)) == whole


@on_every_backend
@pytest.mark.nightly("jax")
def test_a_run_resumes_with_another_number_of_micro_batches(tiny_job, tmp_path, monkeypatch):
    def job(micro_batches):
        return tiny_job(
            # AdamW turns differences in rounding into whole steps.
            {
                "optimizer": "sgd",
                "learning_rate": 0.1,
                "ema_decay": 0.5,
                "accumulation_steps": micro_batches,
            },
            {"checkpoint_seconds": 0.0},
            model_values={"drop_path_rate": 0.0},
        )

    whole = train_job(job(1), str(tmp_path / "whole"), quiet)
    # Of three steps of four micro-batches: after the first micro-batch of the second epoch's
    # second step.
    with monkeypatch.context() as patch, pytest.raises(Killed):
        before_call(patch, "step_ends", 12 + 5, kill)
        train_job(job(4), str(tmp_path / "split"), quiet)
    split = Run(tmp_path / "split")
    assert checkpoint_names(split)[0] == "epoch-00001-step-0000004.safetensors"
    train_job(job(2), str(split.path), quiet)
    assert_close(whole, split, "final_weights", "ema_weights")
    assert len(whole.history) == 2
    for expected, found in zip(whole.history, split.history, strict=True):
        assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.backends("torch")
def test_a_model_for_small_data_resumes(tiny_job, tmp_path, monkeypatch):
    """Its tokens, mixtures and factors of attention are weights as all others."""
    job = tiny_job(
        {"epochs": 1, "warmup_epochs": 0, "ema_decay": 0.75},
        {"checkpoint_seconds": 0.0},
        objective=Supervised(),
        model="sl_cait_patch4_32",
        model_values={"drop_path_rate": 0.3, "num_heads": 2, "head_dim": 16},
    )
    whole = result_bits(train_job(job, str(tmp_path / "whole"), quiet))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        before_call(patch, "step_ends", 1, kill)
        train_job(job, str(tmp_path / "run"), quiet)
    assert result_bits(train_job(job, str(tmp_path / "run"), quiet)) == whole


@pytest.mark.backends("torch")
def test_a_run_is_extended_also_if_the_extension_is_killed(job, tmp_path):
    def with_epochs(epochs, **values):
        optimization = dataclasses.replace(job.recipe.optimization, epochs=epochs)
        recipe = dataclasses.replace(job.recipe, optimization=optimization)
        return dataclasses.replace(job, recipe=recipe, **values)

    longer, extension = with_epochs(4), with_epochs(4, extend=True)
    with pytest.raises(InputError, match="not a run that --extend"):
        train_job(extension, str(tmp_path / "killed"), quiet)
    runs = {}
    for name in ("killed", "extended"):
        run = runs[name] = train_job(with_epochs(2), str(tmp_path / name), quiet)
        before = run.history
        with pytest.raises(InputError, match=r"epochs 2 there, 4 here.*--extend"):
            train_job(longer, str(run.path), quiet)
        if name == "killed":
            # In the first step of the third epoch, and in the next validation.
            for method, number in (("step_ends", 1), ("validate", 0)):
                with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
                    before_call(patch, method, number, kill)
                    train_job(extension, str(run.path), quiet)
                assert run.summary is None
        # Once it has begun, the command without --extend resumes it too.
        train_job(longer if name == "killed" else extension, str(run.path), quiet)
        assert run.history[:2] == before
        assert [row["epoch"] for row in run.history] == [0, 1, 2, 3]
    assert result_bits(runs["killed"]) == result_bits(runs["extended"])
    # The schedule is that of four epochs from there on.
    rates = [row["learning_rate"] for row in runs["extended"].history]
    whole = train_job(longer, str(tmp_path / "whole"), quiet).history
    assert rates[2:] == [row["learning_rate"] for row in whole][2:]
    assert (
        evaluate_run(str(runs["extended"].path), print_fn=quiet)["scores"]
        == (runs["extended"].summary["test"])
    )
    with pytest.raises(InputError, match="no checkpoint any more"):
        shutil.rmtree(runs["extended"].checkpoints)
        train_job(with_epochs(5, extend=True), str(runs["extended"].path), quiet)
