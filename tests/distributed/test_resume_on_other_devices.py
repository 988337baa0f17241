"""A run that is stopped and goes on with another number of devices is still that run."""

import csv
import signal
import time

import keras
import numpy as np
import pytest
from processes import TESTS, end, free_port, start_training
from run_files import stored_weights

from keras_deit.training import RunDirectory

BACKEND = keras.backend.backend()
TWO_DEVICES = {
    "tensorflow": ("--strategy=mirrored", "--virtual_devices=2"),
    "jax": ("--strategy=data_parallel", "--virtual_devices=2"),
}

pytestmark = pytest.mark.skipif(BACKEND not in TWO_DEVICES, reason="one device on PyTorch")


@pytest.fixture
def start(teacher_file):
    def start(run_dir, *flags):
        arguments = (
            *(f"--run_dir={run_dir}", f"--teacher={teacher_file}", "--epochs=12", "--depth=1"),
            *("--embed_dim=24", "--batch_size=400", "--checkpoint_seconds=0", "--ema_decay=0.9"),
            # AdamW makes steps of what is nothing but rounding.
            *("--optimizer=sgd", "--learning_rate=0.1", "--validation_epochs=3"),
        )
        script = TESTS.parent / "scripts" / "train.py"
        return start_training(script, *arguments, *flags, backend=BACKEND)

    return start


def stop(processes, run, epoch):
    """Sends SIGTERM to the last of them within an epoch, counted from 0; all of them end of it."""
    began = f"epoch-{epoch:05}-step-*"
    while not list(run.checkpoints.glob(began)) and processes[0].poll() is None:
        time.sleep(0.01)
    processes[-1].send_signal(signal.SIGTERM)
    for process in processes:
        end(process, 128 + signal.SIGTERM)
    assert not run.final_weights.exists()


def history(run):
    with run.metrics_file.open() as file:
        return [{name: float(x or 0) for name, x in row.items()} for row in csv.DictReader(file)]


def assert_equal(one, many):
    for weights in ("final_weights", "ema_weights", "best_weights"):
        expected, found = (stored_weights(getattr(run, weights)) for run in (one, many))
        assert expected.keys() == found.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=1e-5, err_msg=name)
    assert len(history(one)) == 12
    for expected, found in zip(history(one), history(many), strict=True):
        assert found == pytest.approx(expected, abs=1e-5)


def test_a_run_goes_on_with_other_devices(start, tmp_path):
    """On one; on two, then on one or, on JAX, in two processes that stop together and go on."""
    one, many = (RunDirectory(tmp_path / name) for name in ("one", "many"))
    end(start(one.path))
    stop([start(many.path, *TWO_DEVICES[BACKEND])], many, 1)

    def start_all():
        if BACKEND == "tensorflow":
            return [start(many.path)]
        address = f"--coordinator_address=127.0.0.1:{free_port()}"
        flags = ("--strategy=data_parallel", address, "--num_processes=2")
        return [start(many.path, *flags, f"--process_id={number}") for number in range(2)]

    stop(start_all(), many, 3)
    first, *others = start_all()
    assert "Going on from" in end(first)
    for other in others:
        end(other)
    assert_equal(one, many)
