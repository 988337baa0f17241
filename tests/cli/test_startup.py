"""What a command does while it imports: a wrong backend, and Ctrl-C."""

import json
import pathlib
import signal
import time

import pytest
from commands import run_process, start_command


@pytest.mark.parametrize("backend", ["pytorch", "numpy", "openvino"])
def test_a_backend_that_cannot_train_is_one_line(backend, tmp_path):
    output = run_process(tmp_path, "models", backend=backend, code=2)
    assert output.stderr.count("\n") == 1
    assert all(name in output.stderr for name in ("tensorflow, jax, torch", backend))


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"backend": "pytorch"}, ("backend in ", "tensorflow, jax, torch", "'pytorch'")),
        ({"backend": "openvino"}, ("backend in ", "tensorflow, jax, torch", "'openvino'")),
        ({"backend": ["jax"]}, ("backend in ", "['jax']")),
        ({"floatx": "float8"}, ("floatx", "float8")),
        (["torch"], ("not what Keras takes",)),
    ],
)
def test_a_wrong_value_in_the_settings_of_keras_is_one_line(settings, parts, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    output = run_process(tmp_path, "models", backend="", code=2)
    assert output.stderr.count("\n") == 1
    assert all(part in output.stderr for part in (str(tmp_path / "keras.json"), *parts))


def test_the_backend_in_the_settings_of_keras_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    program = (
        "import os, sys; sys.argv[:] = ['keras-deit', 'train']; import keras_deit, keras;"
        "print(keras.backend.backend(), 'GLIBC_TUNABLES' in os.environ)"
    )
    assert run_process(tmp_path, program=program, backend="").stdout == "torch False\n"


@pytest.mark.parametrize("library", ["/numpy", "libtensorflow_framework"])
def test_ctrl_c_during_the_imports_is_one_line(library, tmp_path):
    process = start_command(tmp_path, "train", backend="tensorflow")
    # When it begins to import it; how long that takes depends on the machine.
    while library not in pathlib.Path(f"/proc/{process.pid}/maps").read_text():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "Interrupted.\n")


def test_tensorflow_is_silent_when_it_is_imported_later(tmp_path):
    program = (
        "import sys, importlib.util; sys.argv[0] = 'keras-deit'; import keras_deit;"
        "assert 'tensorflow' not in sys.modules and importlib.util.find_spec('tensorflow');"
        "import tensorflow as tf; print(tf.__spec__.name, tf.constant(2).numpy())"
    )
    output = run_process(tmp_path, program=program, backend="jax")
    assert output == ("tensorflow 2\n", "")


@pytest.mark.parametrize(
    ("command", "backend", "keeps"),
    [("train", "jax", True), ("train", "torch", False), ("models", "jax", False)],
)
def test_a_command_that_trains_keeps_the_memory_of_a_step(command, backend, keeps, tmp_path):
    program = (
        f"import os, sys; sys.argv[:] = ['keras-deit', '{command}', *sys.argv[1:]];"
        "import keras_deit; print(open('/proc/self/environ').read().count('mmap_max=0'), sys.argv)"
    )
    output = run_process(tmp_path, "--seed=1", program=program, backend=backend)
    # What the process was started with, and not what it has set itself.
    assert output.stdout == f"{int(keeps)} ['keras-deit', '{command}', '--seed=1']\n"


def test_the_users_own_settings_of_the_c_library_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=7")
    program = (
        "import os, sys; sys.argv[:] = ['keras-deit', 'train'];"
        "import keras_deit; print(os.environ['GLIBC_TUNABLES'])"
    )
    output = run_process(tmp_path, program=program, backend="jax")
    assert output.stdout == "glibc.malloc.tcache_count=7\n"
