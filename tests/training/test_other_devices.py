"""A run that is stopped and goes on with another number of devices is still that run."""

import csv
import signal
import time

import keras
import numpy as np
import pytest
from processes import TESTS, end, start_training
from run_files import stored_weights

from keras_deit.training import RunDirectory

BACKEND = keras.backend.backend()
DEVICES = {
    "tensorflow": [("--strategy=mirrored", "--virtual_devices=2"), ()],
    "jax": [("--strategy=data_parallel", f"--virtual_devices={count}") for count in (2, 4)],
}

pytestmark = pytest.mark.skipif(BACKEND not in DEVICES, reason="one device on PyTorch")


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


def stop_in_the_second_epoch(process, run):
    while not list(run.checkpoints.glob("epoch-00001-step-*")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    end(process, 128 + signal.SIGTERM)
    assert not run.final_weights.exists()


def history(run):
    with run.metrics_file.open() as file:
        return [{name: float(x or 0) for name, x in row.items()} for row in csv.DictReader(file)]


def test_a_run_goes_on_with_another_number_of_devices(start, tmp_path):
    one, many = (RunDirectory(tmp_path / name) for name in ("one", "many"))
    end(start(one.path))
    first, second = DEVICES[BACKEND]
    stop_in_the_second_epoch(start(many.path, *first), many)
    assert "Going on from" in end(start(many.path, *second))
    for weights in ("final_weights", "ema_weights", "best_weights"):
        expected, found = (stored_weights(getattr(run, weights)) for run in (one, many))
        assert expected.keys() == found.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=1e-5, err_msg=name)
    assert len(history(one)) == 12
    for expected, found in zip(history(one), history(many), strict=True):
        assert found == pytest.approx(expected, abs=1e-5)
