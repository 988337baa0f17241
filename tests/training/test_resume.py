"""A training that is stopped in the middle, and what comes of it when it goes on."""

import dataclasses
import os
import re
import signal

import numpy as np
import pytest
from run_files import files_no_longer_than, quiet, stored_weights

from keras_deit.core.errors import InputError
from keras_deit.pretrained import create_model
from keras_deit.training import RunDirectory, train
from keras_deit.training.callbacks import save_weights
from keras_deit.training.checkpoints import CheckpointStore
from keras_deit.training.checkpoints.file import read_checkpoint
from keras_deit.training.interruption import Stopped
from keras_deit.training.loop import Data, TrainingLoop

EVERYTHING = {"epochs": 3, "ema_decay": 0.75, "clip_norm": 1.0}


class Killed(BaseException):
    """What no handler of errors takes for one, as SIGKILL."""


def _result(path) -> dict:
    """All that two trainings must have in common, to the bit."""
    run = RunDirectory(path)
    files = (run.final_weights, run.ema_weights, run.best_weights)
    weights = {
        f"{file.name} {name}": w for file in files for name, w in stored_weights(file).items()
    }
    summary = run.read_summary()
    return {
        **{name: (value.dtype, value.tobytes()) for name, value in weights.items()},
        "history": run.metrics_file.read_text(),
        **{name: summary[name] for name in ("test", "test_ema", "best", "steps")},
    }


@pytest.fixture(scope="module")
def job(tiny_job):
    return tiny_job(EVERYTHING, {"checkpoint_seconds": 0.0}, model_values={"drop_path_rate": 0.3})


@pytest.fixture(scope="module")
def whole_run(job, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    train(job, str(path), quiet)
    return RunDirectory(path)


@pytest.fixture(scope="module")
def whole(whole_run):
    return _result(whole_run.path)


def _after(monkeypatch, method, calls, action):
    """Does something instead of a method of `TrainingLoop` when it is called once more."""
    original, counter = getattr(TrainingLoop, method), iter(range(calls))

    def counted(self, *args):
        if next(counter, None) is None:
            action()
        return original(self, *args)

    monkeypatch.setattr(TrainingLoop, method, counted)


def _kill(*args):
    raise Killed


def test_killed_three_times_it_ends_as_if_never(job, whole, tmp_path, monkeypatch):
    path = str(tmp_path / "run")
    # After a step of the first epoch, after two of the second, and in a validation.
    for method, calls in (("step_ends", 2), ("step_ends", 4), ("_validate", 0)):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            _after(patch, method, calls, _kill)
            train(job, path, quiet)
    lines = []
    train(job, path, lines.append)
    assert "epoch 3, step 2" in " ".join(line for line in lines if "Going on" in line)
    assert _result(path) == whole


@pytest.mark.parametrize(
    ("number", "method", "calls", "where"),
    [
        (signal.SIGTERM, "step_ends", 4, "epoch 2 after step 2"),
        (signal.SIGINT, "_validate", 1, "epoch 2 after step 3"),
    ],
)
def test_a_signal_stops_between_two_steps_and_nothing_is_lost(
    job, whole, tmp_path, monkeypatch, number, method, calls, where
):
    patient = dataclasses.replace(job, checkpoint_seconds=1e6)
    before = signal.getsignal(number)
    with monkeypatch.context() as patch, pytest.raises(Stopped, match=where) as stopped:
        _after(patch, method, calls, lambda: os.kill(os.getpid(), number))
        train(patient, str(tmp_path / "run"), quiet)
    assert stopped.value.signal_number == number
    assert signal.getsignal(number) is before
    (newest, _) = CheckpointStore(tmp_path / "run" / "checkpoints").paths()
    assert str(newest) in str(stopped.value)
    train(patient, str(tmp_path / "run"), quiet)
    assert _result(tmp_path / "run") == whole


def test_the_teacher_adds_nothing_to_a_checkpoint(whole_run, job):
    newest = CheckpointStore(whole_run.checkpoints).paths()[0]
    tensors, record = read_checkpoint(newest)
    student = create_model(**whole_run.read_config()["model"])
    numbers = sum(value.size for value in tensors.values() if value.dtype == np.float32)
    # Weights, their average, two moments; the rest are means, a handful of numbers each.
    assert 0 < numbers - 4 * student.count_params() < 40
    assert newest.stat().st_size < 4 * numbers + 25_000
    assert re.fullmatch("[0-9a-f]{16}", record["facts"]["teacher"])


def test_the_newest_checkpoints_and_the_best_weights_are_kept(whole_run):
    names = [path.name for path in CheckpointStore(whole_run.checkpoints).paths()]
    assert names == [
        "epoch-00003-step-0000000.safetensors",
        "epoch-00002-step-0000002.safetensors",
    ]
    best = whole_run.read_summary()["best"]
    history = read_checkpoint(whole_run.checkpoints / names[0])[1]["place"]["history"]
    accuracies = [epoch["val_accuracy"] for epoch in history]
    assert best == {
        "epoch": 1 + accuracies.index(max(accuracies)),
        "val_accuracy": max(accuracies),
    }


def test_a_finished_run_says_so_and_does_nothing(whole_run, job, monkeypatch):
    monkeypatch.setattr(TrainingLoop, "run", _kill)
    lines = []
    train(job, str(whole_run.path), lines.append)
    assert len(lines) == 1 and "finished" in lines[0]


def test_a_run_is_taken_up_only_with_the_same_teacher_and_by_one_process(
    job, whole, tmp_path, monkeypatch
):
    path = tmp_path / "run"
    refused = []

    def start_again():
        with pytest.raises(InputError) as error:
            train(job, str(path), quiet)
        refused.append(str(error.value))
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        _after(patch, "_train", 1, start_again)
        train(job, str(path), quiet)
    # Once by the first training, once by the one that it started.
    assert set(refused) == {f"Another process is training {path}."}
    with monkeypatch.context() as patch:
        patch.setattr("keras_deit.training.train.fingerprint", lambda teacher: "another")
        with pytest.raises(InputError, match=r"its teacher was [0-9a-f]+ and is another now"):
            train(job, str(path), quiet)


def _not_finite_at(monkeypatch, step):
    """The images of a step of the whole training, counted from 1, are no numbers."""

    def spoilt(batches, *arguments):
        def spoilt_batches(start):
            for number, (images, *rest) in enumerate(batches(start), start + 1):
                yield (images * np.float32(np.nan if number == step else 1), *rest)

        return Data(spoilt_batches, *arguments)

    monkeypatch.setattr("keras_deit.training.train.Data", spoilt)


def test_what_is_not_finite_stops_a_run_and_can_be_skipped_then(job, tmp_path, monkeypatch):
    _not_finite_at(monkeypatch, 5)
    path = tmp_path / "run"
    with pytest.raises(InputError, match=r"not finite at step 5 \(epoch 2\)"):
        train(job, str(path), quiet)
    (newest, _) = CheckpointStore(path / "checkpoints").paths()
    assert newest.name == "epoch-00001-step-0000001.safetensors"
    skipping = dataclasses.replace(job, on_nan="skip")
    train(skipping, str(path), quiet)
    train(skipping, str(tmp_path / "whole"), quiet)
    assert RunDirectory(path).read_summary()["skipped_steps"] == 1
    # Not to the bit: the first part of it was another program, without a mean that can skip.
    one, other = (stored_weights(RunDirectory(p).final_weights) for p in (path, tmp_path / "whole"))
    for name, values in one.items():
        np.testing.assert_allclose(values, other[name], atol=1e-5, err_msg=name)


def test_a_disk_that_is_full_stops_with_a_line_and_nothing_is_lost(
    job, whole, tmp_path, monkeypatch
):
    def on_a_full_disk(model, path):
        with files_no_longer_than(3000):
            save_weights(model, path)

    with monkeypatch.context() as patch:
        patch.setattr("keras_deit.training.train.save_weights", on_a_full_disk)
        with pytest.raises(InputError, match="The disk does not take any more") as error:
            train(job, str(tmp_path / "run"), quiet)
    assert "\n" not in str(error.value)
    train(job, str(tmp_path / "run"), quiet)
    assert _result(tmp_path / "run") == whole


def test_a_run_goes_on_in_another_number_of_parts(tiny_job, tmp_path, monkeypatch):
    def job(parts):
        return tiny_job(
            # AdamW makes steps of what is nothing but rounding.
            {
                "optimizer": "sgd",
                "learning_rate": 0.1,
                "ema_decay": 0.5,
                "accumulation_steps": parts,
            },
            {"checkpoint_seconds": 0.0},
            model_values={"drop_path_rate": 0.0},
        )

    whole, split = (RunDirectory(tmp_path / name) for name in ("whole", "split"))
    train(job(1), str(whole.path), quiet)
    # Of three steps in four parts each: after the first part of the second epoch's second step.
    with monkeypatch.context() as patch, pytest.raises(Killed):
        _after(patch, "step_ends", 12 + 5, _kill)
        train(job(4), str(split.path), quiet)
    (newest, _) = CheckpointStore(split.checkpoints).paths()
    assert newest.name == "epoch-00001-step-0000004.safetensors"
    train(job(2), str(split.path), quiet)
    for file in ("final_weights", "ema_weights"):
        one, other = (stored_weights(getattr(run, file)) for run in (whole, split))
        for name, values in one.items():
            np.testing.assert_allclose(values, other[name], atol=1e-5, err_msg=name)
    one, other = (
        read_checkpoint(CheckpointStore(run.checkpoints).paths()[0])[1]["place"]["history"]
        for run in (whole, split)
    )
    assert len(one) == 2
    for expected, found in zip(one, other, strict=True):
        assert found == pytest.approx(expected, abs=1e-5)
