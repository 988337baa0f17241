"""The strategies of JAX: `keras.distribution`."""

import contextlib
import os

import keras
import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.processes import join
from keras_deit.distributed.layouts import BATCH_AXIS, LayerwiseParallel
from keras_deit.layers.introspection import MODEL_AXIS


def scope(devices) -> contextlib.AbstractContextManager:
    """Returns the scope of a `keras.distribution` over the devices of all processes.

    Args:
        devices: `Devices` whose strategy is "data_parallel", "model_parallel" or "tpu".

    Raises:
        InputError: there is no such hardware, or this process cannot join the others.
    """
    if devices.tpu:
        raise InputError(
            "--tpu is for the TensorFlow backend; on JAX --strategy tpu finds the TPU by itself."
        )
    _widen_cpu_pool(max(devices.virtual_devices, 1))
    if devices.virtual_devices:
        _split_cpu(devices.virtual_devices)
    if devices.several_processes:
        join(devices.coordinator_address, devices.num_processes, devices.process_id)
    found = found_devices(devices.strategy)
    return distribution(found, _model_devices(devices, found)).scope()


def found_devices(strategy: str) -> list:
    """Returns JAX's devices of all processes, or its TPU devices for "tpu".

    Raises:
        InputError: there is no TPU.
    """
    return _tpus() if strategy == "tpu" else _all_devices()


def _widen_cpu_pool(devices: int) -> None:
    """Gives the thread pool in which XLA runs CPU devices enough threads for all of them.

    By default it has a thread for each core. During an all-reduce one thread of each device waits
    for the other devices, and once 32 programs are queued on a device, queuing the next one blocks
    another thread. With two cores and two devices no thread is then left for the program that all
    are waiting for: a deadlock.
    """
    # XLA's name for the size of the pool.
    os.environ.setdefault("NPROC", str(max(os.cpu_count() or 1, 4 * devices)))


def _split_cpu(count: int) -> None:
    import jax

    try:
        jax.config.update("jax_num_cpu_devices", count)
        jax.config.update("jax_platforms", "cpu")
    except RuntimeError as error:
        raise InputError(
            "--virtual_devices must be set before JAX has used a device; start a new process."
        ) from error


def _all_devices() -> list:
    import jax

    return jax.devices()


def _tpus() -> list:
    import jax

    found = [device for device in jax.devices() if device.platform == "tpu"]
    if not found:
        others = ", ".join(sorted({device.platform for device in jax.devices()}))
        raise InputError(
            f"--strategy tpu found no TPU among JAX's devices ({others}); "
            "--strategy data_parallel uses those that are there."
        )
    return found


def _model_devices(devices, found: list) -> int:
    """Returns how many devices share a copy of the model."""
    import jax

    local = sum(device.process_index == jax.process_index() for device in found)
    return devices_per_model(devices, local)


def devices_per_model(devices, local: int) -> int:
    """Returns how many devices share a copy of the model.

    Args:
        devices: `Devices`.
        local: number of devices of one process.

    Raises:
        InputError: they cannot be divided into groups of this size.
    """
    wanted = devices.model_devices
    if devices.strategy == "model_parallel":
        wanted = wanted or local
    wanted = wanted or 1
    if local % wanted:
        raise InputError(
            f"--model_devices should divide the {local} devices of a process, among which a copy "
            f"of the model is shared. Received: {wanted}"
        )
    return wanted


def distribution(
    found: list, model_devices: int
) -> keras.distribution.DataParallel | LayerwiseParallel:
    """Returns a distribution that shares a batch among devices, and the model among groups of them.

    Args:
        found: the devices, process by process.
        model_devices: how many of them share a copy of the model, all in one process.
    """
    # Each process already passes only its own rows to Keras.
    own_rows = {"auto_shard_dataset": False}
    names = np.array([f"{device.platform}:{device.id}" for device in found])
    if model_devices == 1:
        return keras.distribution.DataParallel(devices=list(names), **own_rows)
    shape = (len(names) // model_devices, model_devices)
    mesh = keras.distribution.DeviceMesh(shape, [BATCH_AXIS, MODEL_AXIS], names)
    return LayerwiseParallel(mesh, **own_rows)
