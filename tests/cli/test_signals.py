"""Ctrl-C and SIGTERM in any phase of a training: acknowledged, one line, and resumable."""

import json
import signal
import time

import pytest
from commands import SMALL, run_process, start_command

_TRAIN = ("train", "--distillation=none", "--epochs=1", *SMALL, "--batch_size=400", "--run_dir=run")
# Runs the command with a function of the package that something happens before.
_PATCHED = """
import sys; sys.argv[0] = "keras-deit"
import hashlib, importlib, os, signal
from keras_deit.cli.main import main
module = importlib.import_module("keras_deit.training.{module}")
function = getattr(module, "{function}")
def happens():
    {happens}
setattr(module, "{function}", lambda *args, **kwargs: happens() or function(*args, **kwargs))
main()
"""


def terminate(folder, arguments, module, function):
    """Runs a command that gets SIGTERM before it calls a function."""
    kill = "os.kill(os.getpid(), signal.SIGTERM)"
    program = _PATCHED.format(module=module, function=function, happens=kill)
    output = run_process(folder, *arguments, program=program, backend="torch", code=143)
    assert output.stderr.splitlines()[-1] == "Terminated. The same command goes on from there."
    assert "Traceback" not in output.stderr


@pytest.mark.slow
def test_sigterm_around_the_training_is_one_line_and_the_same_command_goes_on(tmp_path):
    terminate(tmp_path, _TRAIN, "preparation", "load_dataset")
    terminate(tmp_path, _TRAIN, "trainer", "all_gather")
    output = run_process(tmp_path, *_TRAIN, backend="torch")
    assert "Resuming from" in output.stdout and "epoch 2, step 0" in output.stdout
    assert "test" in json.loads((tmp_path / "run" / "summary.json").read_text())


@pytest.mark.slow
def test_sigterm_in_the_validation_of_a_teacher_too(tmp_path, teacher_file):
    arguments = ["train-teacher", f"--teacher={teacher_file}", "--output=tuned.keras"]
    arguments += ["--epochs=1", "--batch_size=400"]
    terminate(tmp_path, arguments, "teacher_training", "score")
    assert not (tmp_path / "tuned.keras").exists()
    output = run_process(tmp_path, *arguments, backend="torch")
    assert "Resuming from" in output.stdout and "epoch 2, step 0" in output.stdout
    assert (tmp_path / "tuned.keras").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_acknowledged_at_once_and_the_second_ends_the_process(number, tmp_path):
    # A long call that, like a compilation, does not come back to Python's handlers.
    busy = 'print("busy", flush=True) or hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)'
    program = _PATCHED.format(module="preparation", function="load_dataset", happens=busy)
    process = start_command(tmp_path, *_TRAIN, program=program, backend="jax")
    assert process.stdout.readline() == "busy\n"
    time.sleep(0.5)
    start = time.monotonic()
    process.send_signal(number)
    lines = [process.stderr.readline() for _ in range(2)]
    assert " received: stopping as soon as" in lines[1]
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert time.monotonic() - start < 5
    assert process.returncode == 128 + number
    assert stderr.endswith("The same command goes on from there.\n") and stderr.count("\n") == 1
