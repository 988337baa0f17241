"""Strategies: replicas train as one device does, and what is not there is said."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras_deit.core.execution import replicas

from keras_deit import InputError
from keras_deit.core.processes import process_index_and_count
from keras_deit.distributed import Devices, processes
from keras_deit.distributed.layouts import layout_axes
from keras_deit.distributed.strategies import strategy_scope
from keras_deit.models.registry import abstract_model

TESTS = pathlib.Path(__file__).parents[1]

BACKEND = keras.backend.backend()
tensorflow_only = pytest.mark.skipif(BACKEND != "tensorflow", reason="of tf.distribute")
jax_only = pytest.mark.skipif(BACKEND != "jax", reason="of keras.distribution")


def run(*arguments) -> subprocess.CompletedProcess:
    """A Python process that sees the package and the helpers of the tests."""
    folders = [TESTS.parent, TESTS, TESTS / "distillation"]
    environment = {
        **os.environ,
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
    # Ten steps, their epoch and an evaluation.
    assert result["logged"] == 12
    assert result["step_names"] == ["class_loss", "distillation_loss", "loss"]
    assert {"accuracy", "agreement", *result["step_names"]} <= set(result["epoch_names"])
    assert result["moved"] > 1e-2
    assert result["weights"] < 1e-5
    assert result["averages"] < 1e-5
    assert result["averages_behind"] > 1e-2
    assert result["logs"] < 1e-5
    # One image of one replica spoils a step for both.
    assert result["spoiled"] == ([0.0, 1, 10] if optimizer != "sgd" else None)


@tensorflow_only
def test_the_cpu_is_split_before_it_is_used():
    script = (
        "import tensorflow as tf; from keras_deit.training import Devices\n"
        "from keras_deit.distributed.strategies import strategy_scope\n"
        "tf.zeros(1)\n"
        "try: strategy_scope(Devices('mirrored', virtual_devices=2))\n"
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
        strategy_scope(Devices("mirrored"))


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
            strategy_scope(Devices("tpu", tpu=address.format(port=port)))
    assert "\n" not in str(error.value)


@tensorflow_only
def test_a_tpu_address_where_nobody_answers_is_refused_at_once():
    # Not to be left to TensorFlow, which waits for minutes.
    with pytest.raises(InputError, match=r"found no TPU at 'grpc://127.0.0.1:1': .*refused"):
        strategy_scope(Devices("tpu", tpu="grpc://127.0.0.1:1"))


def test_no_strategy_is_one_replica():
    with strategy_scope(Devices()):
        assert replicas() == 1
        assert process_index_and_count() == (0, 1)


PROCESSES = {"coordinator_address": "localhost:1234", "num_processes": 2, "process_id": 0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"strategy": "horovod"},
            "should be one of none, mirrored, data_parallel, model_parallel, tpu, not 'horovod'",
        ),
        (
            {"virtual_devices": 2},
            "--virtual_devices goes with --strategy mirrored or data_parallel or model_parallel. "
            "Received: --strategy none",
        ),
        ({"strategy": "mirrored", "virtual_devices": -1}, "0 or more. Received: -1"),
        ({"strategy": "mirrored", "model_devices": 2}, "model_parallel or tpu. .* mirrored"),
        ({"strategy": "mirrored", "tpu": "x"}, "--tpu goes with --strategy tpu"),
        ({"num_processes": 2}, "together. Missing: --coordinator_address, --process_id"),
        ({**PROCESSES, "process_id": None}, "Missing: --process_id$"),
        ({**PROCESSES, "process_id": 2}, "from 0 to 1, .* 2 processes. Received: 2"),
        ({**PROCESSES, "num_processes": 0}, "above 0. Received: 0"),
        ({**PROCESSES, "coordinator_address": "localhost"}, "HOST:PORT. Received: 'localhost'"),
        ({**PROCESSES, "coordinator_address": "a:99999"}, "HOST:PORT. Received: 'a:99999'"),
    ],
)
def test_devices_that_cannot_be(values, message):
    with pytest.raises(InputError, match=message):
        Devices(**values)


INSTEAD = {
    "tensorflow": "--strategy mirrored shares the batch among the GPUs of one machine",
    "jax": "--strategy data_parallel shares the batch among all devices",
    "torch": "only --strategy none works",
}


@pytest.mark.parametrize(
    ("strategy", "needed", "backends"),
    [
        ("mirrored", "TensorFlow", ["tensorflow"]),
        ("data_parallel", "JAX", ["jax"]),
        ("model_parallel", "JAX", ["jax"]),
        ("tpu", "TensorFlow or JAX", ["tensorflow", "jax"]),
    ],
)
def test_what_a_backend_cannot_do_is_refused_with_what_works_instead(strategy, needed, backends):
    if BACKEND in backends:
        pytest.skip("the backend can")
    with pytest.raises(InputError) as error:
        strategy_scope(Devices(strategy))
    assert f"--strategy {strategy} needs the {needed} backend" in str(error.value)
    assert f"Keras runs on {BACKEND}, where {INSTEAD[BACKEND]}" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(BACKEND == "jax", reason="the backend can")
def test_several_processes_are_for_jax():
    message = f"needs the JAX backend .* {BACKEND}, where .* MultiWorkerMirroredStrategy"
    with pytest.raises(InputError, match=message):
        strategy_scope(Devices("data_parallel", **PROCESSES))


@jax_only
def test_several_processes_need_a_strategy():
    with pytest.raises(InputError, match=r"data_parallel, model_parallel or tpu\. .* none"):
        strategy_scope(Devices(**PROCESSES))


@jax_only
def test_a_tpu_that_jax_does_not_have():
    with pytest.raises(InputError, match=r"no TPU among JAX's devices \(cpu\); .*data_parallel"):
        strategy_scope(Devices("tpu"))
    with pytest.raises(InputError, match="--tpu is for the TensorFlow backend"):
        strategy_scope(Devices("tpu", tpu="grpc://127.0.0.1:1"))


@jax_only
def test_model_devices_divide_the_devices_of_a_process():
    with pytest.raises(InputError, match=r"should divide the 1 devices of a process, .*: 2"):
        strategy_scope(Devices("model_parallel", model_devices=2))


@jax_only
def test_a_scope_is_undone():
    with strategy_scope(Devices("data_parallel")):
        assert type(keras.distribution.distribution()) is keras.distribution.DataParallel
        assert not keras.distribution.distribution().auto_shard_dataset
    assert keras.distribution.distribution() is None


@jax_only
def test_virtual_devices_come_before_jax_has_used_one():
    keras.ops.zeros(1)
    with pytest.raises(InputError, match="--virtual_devices must be set before JAX has used"):
        strategy_scope(Devices("data_parallel", virtual_devices=2))


@jax_only
def test_a_coordinator_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", 0.1)
    there = {**PROCESSES, "coordinator_address": "127.0.0.1:1", "process_id": 1}
    message = r"No coordinator answered at 127.0.0.1:1 within 0.1 s \(.*refused\); process 0"
    with pytest.raises(InputError, match=message):
        strategy_scope(Devices("data_parallel", **there))


@pytest.mark.parametrize(
    ("path", "shape", "axes"),
    [
        ("block_3/attention/qkv/kernel", (8, 24), (None, "model")),
        ("block_3/attention_b/projection/kernel", (8, 8), ("model", None)),
        ("class_block_0/attention/query/bias", (8,), ("model",)),
        ("block_0/mlp/expand/kernel", (8, 32), (None, "model")),
        ("block_0/mlp_b/contract/kernel", (32, 8), ("model", None)),
        ("block_0/cross_patch/kernel", (16, 16), (None, "model")),
        ("block_0/depthwise/kernel", (3, 3, 8, 1), (None, None, "model", None)),
        # Not a matrix, not evenly, outside of the blocks.
        ("block_0/attention/query/kernel", (8, 2, 4), (None, None, None)),
        ("block_0/cross_patch/kernel", (49, 49), (None, None)),
        ("block_0/attention/projection/bias", (8,), (None,)),
        ("class_head/kernel", (8, 10), (None, None)),
        ("teacher/block_0/mlp/expand/kernel", (8, 32), (None, None)),
    ],
)
def test_what_of_a_model_is_split_over_devices(path, shape, axes):
    assert layout_axes(path, shape, 2) == axes


@jax_only
@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("deit_tiny_patch16_224", 0.9),
        ("deit3_small_patch16_224", 0.9),
        ("cait_xxs24_224", 0.9),
        ("resmlp_12_224", 0.9),
        ("patchconvnet_s60_224", 0.75),
    ],
)
def test_most_of_every_architecture_is_split(name, shard):
    variables = abstract_model(name).trainable_variables
    split = [v for v in variables if any(layout_axes(v.path, v.shape, 2))]
    sizes = [sum(int(np.prod(v.shape)) for v in some) for some in (split, variables)]
    assert sizes[0] > shard * sizes[1]
