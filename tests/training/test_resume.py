"""A training that is stopped in the middle, and what comes of it when it goes on."""

import dataclasses
import json
import os
import signal

import h5py
import numpy as np
import pytest

from keras_deit.errors import InputError
from keras_deit.training import RunDirectory, train
from keras_deit.training.checkpoints import CheckpointStore
from keras_deit.training.fitting import Fitting
from keras_deit.training.interruption import Stopped

EVERYTHING = {"epochs": 3, "ema_decay": 0.75, "clip_norm": 1.0}


class Killed(BaseException):
    """What no handler of errors takes for one, as SIGKILL."""


def _quiet(line):
    del line


def _weights(path) -> dict[str, np.ndarray]:
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: arrays.update({name: item[()]}) if hasattr(item, "shape") else None
        )
    return arrays


def _result(path) -> dict:
    """All that two trainings must have in common, to the bit."""
    run = RunDirectory(path)
    files = (run.final_weights, run.ema_weights, run.best_weights)
    weights = {f"{file.name} {name}": w for file in files for name, w in _weights(file).items()}
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
def whole(job, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    train(job, str(path), _quiet)
    return _result(path)


def _after(monkeypatch, method, calls, action):
    """Does something instead of a method of `Fitting` when it is called once more."""
    original, counter = getattr(Fitting, method), iter(range(calls))

    def counted(self, *args):
        if next(counter, None) is None:
            action()
        return original(self, *args)

    monkeypatch.setattr(Fitting, method, counted)


def _kill():
    raise Killed


def test_killed_three_times_it_ends_as_if_never(job, whole, tmp_path, monkeypatch):
    path = str(tmp_path / "run")
    # After a step of the first epoch, after two of the second, and in a validation.
    for method, calls in (("step_ends", 2), ("step_ends", 4), ("_validate", 0)):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            _after(patch, method, calls, _kill)
            train(job, path, _quiet)
    lines = []
    train(job, path, lines.append)
    assert "epoch 3, step 2" in " ".join(line for line in lines if "Going on" in line)
    assert _result(path) == whole


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("method", "calls", "where"),
    [("step_ends", 4, "epoch 2 after step 2"), ("_validate", 1, "epoch 2 after step 3")],
)
def test_a_signal_stops_between_two_steps_and_nothing_is_lost(
    job, whole, tmp_path, monkeypatch, number, method, calls, where
):
    patient = dataclasses.replace(job, checkpoint_seconds=1e6)
    before = signal.getsignal(number)
    with monkeypatch.context() as patch, pytest.raises(Stopped, match=where) as stopped:
        _after(patch, method, calls, lambda: os.kill(os.getpid(), number))
        train(patient, str(tmp_path / "run"), _quiet)
    assert stopped.value.signal_number == number
    assert signal.getsignal(number) is before
    (newest, _) = CheckpointStore(tmp_path / "run" / "checkpoints").paths()
    assert str(newest) in str(stopped.value)
    train(patient, str(tmp_path / "run"), _quiet)
    assert _result(tmp_path / "run") == whole


def test_a_broken_newest_checkpoint_costs_the_way_from_the_one_before(
    job, whole, tmp_path, monkeypatch, caplog
):
    path = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        _after(patch, "step_ends", 5, _kill)
        train(job, str(path), _quiet)
    newest, before = CheckpointStore(path / "checkpoints").paths()
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    lines = []
    train(job, str(path), lines.append)
    assert f"Going on from {before}: epoch 2, step 1." in lines
    assert newest.name in caplog.text and "checksum" in caplog.text
    assert (path / "checkpoints" / f"broken-{newest.name}").exists()
    assert _result(path) == whole


def test_a_teacher_that_changed_is_refused(job, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        _after(patch, "step_ends", 2, _kill)
        train(job, str(tmp_path / "run"), _quiet)
    newest = CheckpointStore(tmp_path / "run" / "checkpoints").paths()[0]
    monkeypatch.setattr("keras_deit.training.trainer.fingerprint", lambda teacher: "another")
    with pytest.raises(InputError, match=r"its teacher was [0-9a-f]+ and is another") as error:
        train(job, str(tmp_path / "run"), _quiet)
    assert str(newest) in str(error.value)


def test_the_teacher_adds_nothing_to_a_checkpoint(job, tmp_path):
    sizes = {}
    for kind in ("hard", "none"):
        one = dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, distillation=kind))
        train(one, str(tmp_path / kind), _quiet)
        newest = CheckpointStore(tmp_path / kind / "checkpoints").paths()[0]
        sizes[kind] = newest.stat().st_size
    # What is left is the text of the log.
    assert abs(sizes["hard"] - sizes["none"]) < 2000


def test_the_newest_are_kept_and_a_finished_run_says_so(job, tmp_path):
    three = dataclasses.replace(job, keep_checkpoints=3)
    train(three, str(tmp_path / "run"), _quiet)
    names = [path.name for path in CheckpointStore(tmp_path / "run" / "checkpoints").paths()]
    assert names == [
        "epoch-00003-step-0000000.safetensors",
        "epoch-00002-step-0000002.safetensors",
        "epoch-00002-step-0000001.safetensors",
    ]
    lines = []
    train(three, str(tmp_path / "run"), lines.append)
    assert len(lines) == 1 and "finished" in lines[0]


def test_a_second_process_on_the_same_run_is_refused(job, tmp_path, monkeypatch):
    messages = []

    def start_again():
        with pytest.raises(InputError) as error:
            train(job, str(tmp_path / "run"), _quiet)
        messages.append(str(error.value))

    with monkeypatch.context() as patch:
        _after(patch, "_train", 1, start_again)
        train(job, str(tmp_path / "run"), _quiet)
    assert messages == [f"Another process is training {tmp_path / 'run'}."]


def test_the_best_epoch_is_kept(job, tmp_path):
    train(job, str(tmp_path / "run"), _quiet)
    run = RunDirectory(tmp_path / "run")
    best = run.read_summary()["best"]
    assert json.loads(json.dumps(best)) == best
    assert 1 <= best["epoch"] <= 3
    assert set(_weights(run.best_weights)) == set(_weights(run.final_weights))
