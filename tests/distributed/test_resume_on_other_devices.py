"""A run that is stopped can resume on another number of devices."""

import signal
import time

import keras
import pytest
from jobs import train_without_page
from processes import TESTS, end, end_all, free_port, start
from run_files import Killed, assert_close, before_call, kill, quiet

from keras_deit.training import Run

BACKEND = keras.backend.backend()
# PyTorch has one device.
pytestmark = [pytest.mark.backends("tensorflow", "jax"), pytest.mark.slow]


@pytest.fixture
def values(teacher_file):
    return {
        **{
            "teacher": str(teacher_file),
            "accept_teacher": True,
            "epochs": 12,
            "depth": 1,
            "embed_dim": 24,
        },
        **{"batch_size": 400, "checkpoint_seconds": 0.0, "ema_decay": 0.9},
        # AdamW turns differences in rounding into whole steps.
        **{"optimizer": "sgd", "learning_rate": 0.1, "validation_epochs": 3},
    }


@pytest.fixture
def start_command(values):
    script = TESTS.parent / "scripts" / "train.py"
    flags = [f"--{name}={value}" for name, value in values.items()]

    def start_command(run, *more):
        return start(script, f"--run_dir={run.path}", *flags, *more, backend=BACKEND)

    return start_command


def stop(processes, run, epoch):
    """Sends SIGTERM to the last process within an epoch, counted from 0; all of them stop."""
    checkpoint = f"epoch-{epoch:05}-step-*"
    while not list(run.checkpoints.glob(checkpoint)) and processes[0].poll() is None:
        time.sleep(0.01)
    processes[-1].send_signal(signal.SIGTERM)
    for process in processes:
        end(process, 128 + signal.SIGTERM)
    assert not run.final_weights.exists()


def assert_equal(one, many):
    assert_close(one, many, "final_weights", "ema_weights", "best_weights")
    assert len(one.history) == 12
    for expected, found in zip(one.history, many.history, strict=True):
        assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.backends("tensorflow")
def test_a_run_on_two_replicas_resumes_on_one_device(values, start_command, tmp_path, request):
    run = Run(tmp_path / "many")
    stop([start_command(run, "--strategy=mirrored", "--virtual_devices=2")], run, 1)
    lines = []
    request.getfixturevalue("eager")
    train_without_page(**values, run_dir=str(run.path), print_fn=lines.append)
    assert any("Resuming" in line for line in lines)
    assert_equal(train_without_page(**values, run_dir=str(tmp_path / "one"), print_fn=quiet), run)


@pytest.mark.backends("jax")
def test_a_run_on_one_device_resumes_in_two_processes_that_stop_together(
    values, start_command, tmp_path, monkeypatch
):
    run = Run(tmp_path / "many")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        before_call(patch, "step_ends", 4, kill)
        train_without_page(**values, run_dir=str(run.path), print_fn=quiet)

    def start_both():
        address = f"--coordinator_address=127.0.0.1:{free_port()}"
        flags = ("--strategy=data_parallel", address, "--num_processes=2")
        return [start_command(run, *flags, f"--process_id={number}") for number in range(2)]

    stop(start_both(), run, 3)
    first, second = end_all(start_both())
    assert "Resuming" in first and "Resuming" not in second
    # Both print the result that one of them has written.
    assert f"{run.summary['test']['fused']['top1']:.4f}" in second
    assert_equal(train_without_page(**values, run_dir=str(tmp_path / "one"), print_fn=quiet), run)
