"""Devices and strategies: which ones are possible, and what is said about those that are not."""

import socket

import keras
import pytest

from keras_deit import InputError
from keras_deit.core import processes
from keras_deit.core.processes import data_parallel_replicas, process_index_and_count
from keras_deit.distributed import Devices, strategy_scope

on_jax = pytest.mark.backends("jax")
PROCESSES = {"coordinator_address": "localhost:1234", "num_processes": 2, "process_id": 0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strategy": "horovod"}, "--strategy .*model_parallel.*'horovod'"),
        ({"virtual_devices": 2}, "--virtual_devices .*data_parallel.* --strategy none"),
        ({"strategy": "mirrored", "virtual_devices": -1}, "0 or more.*-1"),
        ({"strategy": "mirrored", "model_devices": 2}, "model_parallel or tpu.* mirrored"),
        ({"strategy": "mirrored", "tpu": "x"}, "--tpu .*--strategy tpu"),
        ({"num_processes": 2}, "Missing: --coordinator_address, --process_id$"),
        ({**PROCESSES, "process_id": None}, "Missing: --process_id$"),
        ({**PROCESSES, "process_id": 2}, "--process_id .*0 to 1.*: 2$"),
        ({**PROCESSES, "num_processes": 0}, "--num_processes .*: 0$"),
        ({**PROCESSES, "coordinator_address": "localhost"}, "HOST:PORT.*'localhost'"),
        ({**PROCESSES, "coordinator_address": "a:99999"}, "HOST:PORT.*'a:99999'"),
    ],
)
def test_devices_that_are_not_possible_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        Devices(**values)


def test_no_strategy_is_one_replica():
    with strategy_scope(Devices()):
        assert data_parallel_replicas() == 1
        assert process_index_and_count() == (0, 1)


@pytest.mark.parametrize(
    ("backend", "strategy", "needed", "instead"),
    [
        ("jax", "mirrored", "TensorFlow", "--strategy data_parallel"),
        ("torch", "mirrored", "TensorFlow", "--strategy none"),
        ("tensorflow", "data_parallel", "JAX", "--strategy mirrored"),
        ("tensorflow", "model_parallel", "JAX", "--strategy mirrored"),
        ("torch", "tpu", "TensorFlow or JAX", "--strategy none"),
    ],
)
def test_a_strategy_of_another_backend_is_refused_with_what_works_instead(
    monkeypatch, backend, strategy, needed, instead
):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    message = f"--strategy {strategy} .*{needed} .*{backend}.*{instead}"
    with pytest.raises(InputError, match=message) as error:
        strategy_scope(Devices(strategy))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_several_processes_need_jax(monkeypatch, backend):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    with pytest.raises(InputError, match=f"--num_processes .*JAX.*{backend}"):
        strategy_scope(Devices("data_parallel", **PROCESSES))


def test_mirrored_needs_a_gpu_or_virtual_devices(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [])
    with pytest.raises(InputError, match=r"no GPU .*--strategy none.*--virtual_devices"):
        strategy_scope(Devices("mirrored"))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", r"no TPU .*--tpu"),
        ("grpc://127.0.0.1:{port}", r"no TPU .*'grpc://127.0.0.1:\d+': failed to connect"),
    ],
)
def test_a_tpu_that_tensorflow_cannot_connect_to(address, message, monkeypatch):
    import tensorflow as tf

    def refuse(resolver):
        raise tf.errors.UnavailableError(None, None, "failed to connect\nto all addresses")

    # TensorFlow itself asks the address for minutes.
    monkeypatch.setattr(tf.config, "experimental_connect_to_cluster", refuse)
    monkeypatch.delenv("TPU_NAME", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(InputError, match=message) as error:
            strategy_scope(Devices("tpu", tpu=address.format(port=port)))
    assert "\n" not in str(error.value)


def test_a_tpu_address_without_a_listener_is_refused_at_once():
    with pytest.raises(InputError, match=r"no TPU .*'grpc://127.0.0.1:1': .*refused"):
        strategy_scope(Devices("tpu", tpu="grpc://127.0.0.1:1"))


@on_jax
def test_several_processes_need_a_strategy():
    with pytest.raises(InputError, match=r"--num_processes .*data_parallel.* none"):
        strategy_scope(Devices(**PROCESSES))


@on_jax
def test_a_tpu_that_jax_does_not_have():
    with pytest.raises(InputError, match=r"no TPU .*cpu.*data_parallel"):
        strategy_scope(Devices("tpu"))
    with pytest.raises(InputError, match=r"--tpu .*TensorFlow"):
        strategy_scope(Devices("tpu", tpu="grpc://127.0.0.1:1"))


@on_jax
def test_model_devices_must_divide_the_devices_of_a_process():
    with pytest.raises(InputError, match=r"--model_devices .* 1 devices .*: 2"):
        strategy_scope(Devices("model_parallel", model_devices=2))


@on_jax
def test_a_distribution_ends_with_its_scope():
    with strategy_scope(Devices("data_parallel")):
        assert type(keras.distribution.distribution()) is keras.distribution.DataParallel
        assert not keras.distribution.distribution().auto_shard_dataset
    assert keras.distribution.distribution() is None


@on_jax
def test_the_cpu_must_be_split_before_it_is_used():
    keras.ops.zeros(1)
    with pytest.raises(InputError, match=r"--virtual_devices .*before JAX"):
        strategy_scope(Devices("data_parallel", virtual_devices=2))


@on_jax
def test_a_coordinator_that_does_not_answer_is_waited_for_and_then_named(monkeypatch):
    monkeypatch.setattr(processes, "CONNECT_TIMEOUT", 0.1)
    there = {**PROCESSES, "coordinator_address": "127.0.0.1:1", "process_id": 1}
    with pytest.raises(InputError, match=r"127.0.0.1:1 within 0.1 s .*refused"):
        strategy_scope(Devices("data_parallel", **there))
