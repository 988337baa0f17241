"""Interrupts trainings, and compares runs and their files."""

import contextlib
import json
import resource
import signal

import numpy as np
from weight_files import stored_weights

from keras_deit.models import model_values
from keras_deit.pretrained.conversion import save_model
from keras_deit.training.loop import TrainingLoop


class Killed(BaseException):
    """Ends a training without giving it a chance to react, like SIGKILL."""


def kill(*args):
    raise Killed


def before_call(monkeypatch, method, number, action):
    """Does something before a method of `TrainingLoop` is called for the n-th time, from 0 on."""
    original, calls = getattr(TrainingLoop, method), iter(range(number))

    def counted(self, *args):
        if next(calls, None) is None:
            action()
        return original(self, *args)

    monkeypatch.setattr(TrainingLoop, method, counted)


def quiet(line):
    """Prints nothing."""


def result_bits(run) -> dict:
    """Returns all that two equal trainings must have in common, to the bit."""
    files = (run.final_weights, run.ema_weights, run.best_weights)
    weights = {
        f"{file.name} {name}": w for file in files for name, w in stored_weights(file).items()
    }
    return {
        **{name: (value.dtype, value.tobytes()) for name, value in weights.items()},
        "history": run.metrics_file.read_text(),
        **{name: run.summary[name] for name in ("test", "test_ema", "best", "steps")},
    }


def assert_close(one, other, *files, atol=1e-5):
    """Compares the weights of two runs."""
    for file in files:
        expected, found = (stored_weights(getattr(run, file)) for run in (one, other))
        assert expected.keys() == found.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=atol, err_msg=f"{file} {name}")


def checkpoint_names(run) -> list[str]:
    """Returns the file names of the checkpoints of a run, the newest first."""
    return sorted((path.name for path in run.checkpoints.glob("epoch-*")), reverse=True)


def files_below(path) -> dict:
    """Returns the content of all files below a folder."""
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


@contextlib.contextmanager
def files_no_longer_than(size: int):
    """Makes writing more into a file fail, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def write_run_of(model, folder) -> None:
    """Writes what a run stores of its model: its configuration and final weights."""
    save_model(model, folder / "final.weights.h5")
    values = {k: v for k, v in model.get_config().items() if k in model_values(model.name)}
    config = {"run": {}, "model": {**values, "name": model.name}}
    (folder / "config.json").write_text(json.dumps(config))
