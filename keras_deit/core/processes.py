"""Processes and devices: which process this is, how many there are, how they work together."""

import contextlib
import socket
import time
from collections.abc import Iterable, Iterator

import keras
import numpy as np

from keras_deit.core.errors import InputError, first_line
from keras_deit.core.keras_internals import replaced_value

# The machines of a cluster do not start at the same moment.
CONNECT_TIMEOUT = 120


def process_index_and_count() -> tuple[int, int]:
    """Returns this process's index and the number of processes: (0, 1) unless JAX runs several."""
    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    # `jax.process_count()` would initialize JAX's devices.
    if not jax.distributed.is_initialized():
        return 0, 1
    return jax.process_index(), jax.process_count()


def is_writer() -> bool:
    """Returns whether this process is the one that writes files and prints."""
    return process_index_and_count()[0] == 0


def data_parallel_replicas() -> int:
    """Returns how many copies of the model share a batch, over all processes.

    Under model parallelism the devices that share one copy count as one.
    """
    if keras.backend.backend() == "jax":
        distribution = keras.distribution.distribution()
        return 1 if distribution is None else distribution.num_model_replicas
    return num_replicas_in_sync()


def num_replicas_in_sync() -> int:
    """Returns the number of replicas of a `tf.distribute` strategy; otherwise 1.

    Each replica computes the loss of its own images and the gradients are summed. On JAX there is
    one program whose loss is that of the whole batch.
    """
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def mean_over_replicas(value):
    """Returns the mean of a tensor over the replicas of a `tf.distribute` strategy, in a step.

    On JAX and PyTorch, and without a strategy, a step sees the whole batch and it is the value.
    """
    if num_replicas_in_sync() == 1:
        return value
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, value)


def gathered_from_replicas(tensor):
    """Returns the rows of all replicas of a `tf.distribute` strategy; otherwise the tensor itself.

    Args:
        tensor: (rows, ...), in a replica's step.
    """
    if num_replicas_in_sync() == 1:
        return tensor
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_gather(tensor, axis=0)


def has_accelerator() -> bool:
    """Returns whether the backend runs on a GPU or TPU."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        kinds = {device.device_type for device in tf.config.list_logical_devices()}
        return bool(kinds & {"GPU", "TPU"})
    if backend == "jax":
        import jax

        return jax.default_backend() != "cpu"
    import torch

    return torch.cuda.is_available()


def join(coordinator_address: str, num_processes: int, process_id: int) -> None:
    """Makes this process one of several. Must run before JAX uses a device.

    `keras.distribution.initialize` calls the same function of JAX but cannot set the timeout.

    Args:
        coordinator_address: HOST:PORT of process 0.
        num_processes: the number of processes.
        process_id: the index of this process.

    Raises:
        InputError: the coordinator did not answer or some processes did not start within
            `CONNECT_TIMEOUT` seconds, or JAX has already used a device.
    """
    import jax

    if jax.distributed.is_initialized():
        return
    if process_id:
        _wait_for(coordinator_address)
    try:
        jax.distributed.initialize(
            coordinator_address, num_processes, process_id, initialization_timeout=CONNECT_TIMEOUT
        )
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"Process {process_id} of {num_processes} could not join the others at "
            f"{coordinator_address}: {first_line(error)}"
        ) from error


def _wait_for(address: str) -> None:
    """Waits for the coordinator: without one, JAX aborts the process with a page of messages."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + CONNECT_TIMEOUT
    while True:
        try:
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                # A port without a listener can, by chance, connect to itself.
                if connection.getsockname() != connection.getpeername():
                    return
        except OSError as error:
            if time.monotonic() > deadline:
                raise InputError(
                    f"No coordinator answered at {address} within {CONNECT_TIMEOUT} s ({error}); "
                    "process 0 should run there."
                ) from error
        time.sleep(0.5)


def shut_down_together() -> None:
    """Waits until all processes exit: JAX aborts a process whose coordinator has exited."""
    if keras.backend.backend() == "jax":
        import jax

        if jax.distributed.is_initialized():
            jax.distributed.shutdown()


def barrier(name: str) -> None:
    """Returns once every process has called it.

    Args:
        name: name of the barrier, for the error when processes wait at different ones.
    """
    if process_index_and_count()[1] > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def all_gather(texts: list[str]) -> list[str]:
    """Returns the texts of all processes, sorted and without duplicates; all must call it."""
    if process_index_and_count()[1] == 1:
        return sorted(set(texts))
    from jax.experimental import multihost_utils

    own = np.array(bytearray("\n".join(texts).encode()), np.uint8)
    lengths = multihost_utils.process_allgather(np.array([own.size])).reshape(-1)
    padded = np.zeros(int(lengths.max()), np.uint8)
    padded[: own.size] = own
    rows = multihost_utils.process_allgather(padded)
    joined = [bytes(row[: int(length)]).decode() for row, length in zip(rows, lengths, strict=True)]
    return sorted({text for one in joined for text in one.split("\n") if text})


def preemption_reached(step: int) -> bool:
    """Returns whether all processes stop at this step because one of them received SIGTERM.

    With several processes JAX catches the signal itself and chooses a step that no process has
    passed.

    Args:
        step: how often this function was called before, the same number in every process.
    """
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(step)


@contextlib.contextmanager
def addressable(variables: Iterable[keras.Variable]) -> Iterator[None]:
    """Makes variables readable that are split over the devices of several processes.

    JAX refuses to read an array that has a shard in another process, even though under our
    strategies every process holds a copy of each shard. Only "model_parallel" with several
    processes needs this; elsewhere it does nothing. Assignments inside the block are lost.

    Args:
        variables: variables of a model or an optimizer.
    """
    with contextlib.ExitStack() as stack:
        for variable in variables:
            if _has_remote_shards(variable):
                local = keras.ops.convert_to_tensor(_assemble(variable.value))
                stack.enter_context(replaced_value(variable, local))
        yield


def _has_remote_shards(variable: keras.Variable) -> bool:
    if keras.backend.backend() != "jax":
        return False
    value = variable.value
    return not (value.is_fully_addressable or value.is_fully_replicated)


def _assemble(value) -> np.ndarray:
    whole = np.empty(value.shape, value.dtype)
    for shard in value.addressable_shards:
        whole[shard.index] = shard.data
    return whole
