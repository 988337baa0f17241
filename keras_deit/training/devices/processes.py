"""Several JAX processes, on one machine or many, that train one model together."""

import contextlib
import socket
import time
from collections.abc import Iterable, Iterator

import keras
import numpy as np

from keras_deit.errors import InputError

# Machines of a cluster do not start at the same moment.
PATIENCE = 120


def join(coordinator_address: str, num_processes: int, process_id: int) -> None:
    """Makes this process one of several. To be called before JAX has used a device.

    Not through `keras.distribution.initialize`, which calls the same function of JAX but leaves
    no choice of how long to wait.

    Args:
        coordinator_address: HOST:PORT of process 0.
        num_processes: how many there are.
        process_id: this one's number.

    Raises:
        InputError: the coordinator cannot be reached, or not all processes came, within
            `PATIENCE` seconds; or JAX has used a device already.
    """
    import jax

    if jax.distributed.is_initialized():
        return
    if process_id:
        _wait_for(coordinator_address)
    try:
        jax.distributed.initialize(
            coordinator_address, num_processes, process_id, initialization_timeout=PATIENCE
        )
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"Process {process_id} of {num_processes} could not join the others at "
            f"{coordinator_address}: {reason}"
        ) from error


def _wait_for(address: str) -> None:
    """JAX ends the whole process, with a page of notes, where the coordinator does not answer."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                # A port without a listener may, by chance, be connected to itself.
                if connection.getsockname() != connection.getpeername():
                    return
        except OSError as error:
            if time.monotonic() > deadline:
                raise InputError(
                    f"No coordinator answered at {address} within {PATIENCE} s ({error}); process "
                    "0 should run there."
                ) from error
        time.sleep(0.5)


def all_stop(moment: int) -> bool:
    """Whether all processes stop at this moment, because one of them has received SIGTERM.

    JAX itself catches the signal where there are several processes, and chooses a moment that
    none of them has passed.

    Args:
        moment: how often this has been asked, the same in every process.
    """
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(moment)


def leave_together() -> None:
    """Waits until all processes leave; a process whose coordinator has left before is aborted."""
    if keras.backend.backend() == "jax":
        import jax

        if jax.distributed.is_initialized():
            jax.distributed.shutdown()


@contextlib.contextmanager
def readable(variables: Iterable[keras.Variable]) -> Iterator[None]:
    """Inside, this process can read variables that are split over devices of all processes.

    JAX refuses to read an array of which a part lies in another process, although under
    `strategy_scope` every process has a copy of each part. Needed only under "model_parallel" in
    several processes; elsewhere it does nothing. What is assigned inside is lost.

    Args:
        variables: of a model or an optimiser.
    """
    split = [variable for variable in variables if _is_out_of_reach(variable)]
    values = [variable.value for variable in split]
    for variable, value in zip(split, values, strict=True):
        variable._value = keras.ops.convert_to_tensor(_from_own_devices(value))
    try:
        yield
    finally:
        for variable, value in zip(split, values, strict=True):
            variable._value = value


def _is_out_of_reach(variable: keras.Variable) -> bool:
    if keras.backend.backend() != "jax":
        return False
    value = variable.value
    return not (value.is_fully_addressable or value.is_fully_replicated)


def _from_own_devices(value) -> np.ndarray:
    whole = np.empty(value.shape, value.dtype)
    for shard in value.addressable_shards:
        whole[shard.index] = shard.data
    return whole
