"""Strategies: replicas train as one device does, and what is not there is said."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import keras
import pytest

from keras_deit import InputError
from keras_deit.distillation.execution import replicas
from keras_deit.training.strategies import strategy_scope

TESTS = pathlib.Path(__file__).parents[1]

tensorflow_only = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="strategies are TensorFlow's"
)


def run(*arguments) -> subprocess.CompletedProcess:
    """A Python process that sees the package and the helpers of the tests."""
    folders = [TESTS.parent, TESTS, TESTS / "distillation"]
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
    }
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=300
    )


@tensorflow_only
@pytest.mark.parametrize(
    ("kind", "student", "optimizer"),
    [
        ("hard", "distilled", "sgd"),
        ("soft", "plain", "sgd"),
        # Gradients are clipped by the norm of what all replicas have, not each replica's own.
        ("hard", "distilled", "clipped"),
        ("hard", "distilled", "lamb"),
    ],
)
def test_two_replicas_train_as_one_device_does(kind, student, optimizer):
    process = run(TESTS / "training" / "mirrored_steps.py", kind, student, optimizer)
    assert process.returncode == 0, process.stderr[-3000:]
    result = json.loads(process.stdout.splitlines()[-1])
    assert result["replicas"] == [2, 1]
    # Five steps, their epoch and an evaluation.
    assert result["logged"] == 7
    assert result["step_names"] == ["class_loss", "distillation_loss", "loss"]
    assert {"accuracy", "agreement", *result["step_names"]} <= set(result["epoch_names"])
    assert result["moved"] > 1e-2
    assert result["weights"] < 1e-5
    assert result["averages"] < 1e-5
    assert result["averages_behind"] > 1e-2
    assert result["logs"] < 1e-5


@tensorflow_only
def test_the_cpu_is_split_before_it_is_used():
    script = (
        "import tensorflow as tf; from keras_deit.training.strategies import strategy_scope\n"
        "tf.zeros(1)\n"
        "try: strategy_scope('mirrored', virtual_devices=2)\n"
        "except ValueError as error: print(type(error).__name__, error)\n"
    )
    process = run("-c", script)
    message = "InputError --virtual_devices must be set before TensorFlow has used a device"
    assert message in process.stdout, process.stderr[-3000:]


@tensorflow_only
def test_mirrored_without_a_gpu(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [])
    with pytest.raises(InputError, match=r"found no GPU .*--strategy none.*--virtual_devices 2"):
        strategy_scope("mirrored")


@tensorflow_only
@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", r"found no TPU on this machine \(--tpu gives an address\): \S+"),
        ("grpc://127.0.0.1:{port}", r"found no TPU at 'grpc://127.0.0.1:\d+': failed to connect"),
    ],
)
def test_tpu_without_a_tpu(address, message, monkeypatch):
    import tensorflow as tf

    def refuse(resolver):
        raise tf.errors.UnavailableError(None, None, "failed to connect\nto all addresses")

    # Asking the address itself takes TensorFlow minutes.
    monkeypatch.setattr(tf.config, "experimental_connect_to_cluster", refuse)
    monkeypatch.delenv("TPU_NAME", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(InputError, match=message) as error:
            strategy_scope("tpu", tpu=address.format(port=port))
    assert "\n" not in str(error.value)


@tensorflow_only
def test_a_tpu_address_where_nobody_answers_is_refused_at_once():
    # Not to be left to TensorFlow, which waits for minutes.
    with pytest.raises(InputError, match=r"found no TPU at 'grpc://127.0.0.1:1': .*refused"):
        strategy_scope("tpu", tpu="grpc://127.0.0.1:1")


def test_unknown_strategy():
    message = "--strategy should be one of none, mirrored, tpu, not 'horovod'"
    with pytest.raises(InputError, match=message):
        strategy_scope("horovod")


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="strategies are TensorFlow's")
@pytest.mark.parametrize("name", ["mirrored", "tpu"])
def test_strategies_on_another_backend(name):
    message = f"--strategy {name} needs the TensorFlow backend .* runs on {keras.backend.backend()}"
    with pytest.raises(InputError, match=message):
        strategy_scope(name)


def test_no_strategy_is_one_replica():
    with strategy_scope("none"):
        assert replicas() == 1
