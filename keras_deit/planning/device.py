"""The devices of a plan: their number and their memory."""

import pathlib
import subprocess

import keras

from keras_deit.core.errors import InputError
from keras_deit.distributed.jax_strategies import devices_per_model, found_devices
from keras_deit.distributed.strategies import Devices, check_backend

_MEMINFO = pathlib.Path("/proc/meminfo")


def count_devices(devices: Devices, given: int | None = None) -> tuple[int, int]:
    """Returns the number of replicas of the model, and of devices that share each of them.

    Args:
        devices: devices of the training.
        given: number of devices of all processes together, instead of the present ones.

    Raises:
        InputError: the backend has no such strategy, there are no such devices, or they cannot be
            divided evenly.
    """
    check_backend(devices)
    if devices.strategy == "none":
        if given not in (None, 1):
            raise InputError(
                f"--plan_devices {given} needs a --strategy that divides the batch among them."
            )
        return 1, 1
    processes = devices.num_processes or 1
    total = given or devices.virtual_devices * processes or _present(devices.strategy) * processes
    if total % processes:
        raise InputError(
            f"--plan_devices {total} cannot be divided evenly among {processes} processes"
        )
    if keras.backend.backend() != "jax":
        return total, 1
    shards = devices_per_model(devices, total // processes)
    return total // shards, shards


def device_memory(devices_here: int) -> tuple[int, str] | None:
    """Returns the bytes that a device has for a training, and the source of this number.

    None if it is not known.

    Args:
        devices_here: number of devices that share the machine's memory if the device is its CPU.
    """
    on_accelerator = {"jax": _jax_memory, "tensorflow": _tensorflow_memory, "torch": _torch_memory}
    found, accelerated = on_accelerator[keras.backend.backend()]()
    if accelerated:
        return found
    if not _MEMINFO.is_file():
        return None
    lines = dict(line.split(":") for line in _MEMINFO.read_text().splitlines())
    available = int(lines["MemAvailable"].split()[0]) * 1024
    return available // devices_here, "free on this machine now"


def _present(strategy: str) -> int:
    """Returns the number of devices of this process."""
    if keras.backend.backend() == "jax":
        return len(found_devices(strategy))
    if strategy == "tpu":
        raise InputError("--plan of --strategy tpu needs --plan_devices: its number of cores.")
    import tensorflow as tf

    gpus = len(tf.config.list_physical_devices("GPU"))
    if not gpus:
        raise InputError(
            "--strategy mirrored found no GPU that TensorFlow can use; --plan_devices says how "
            "many there will be."
        )
    return gpus


# Each of these functions returns the bytes and their source, or None if they are unknown, and
# whether there is an accelerator.


def _jax_memory():
    import jax

    device = jax.devices()[0]
    if device.platform == "cpu":
        return None, False
    limit = (device.memory_stats() or {}).get("bytes_limit")
    return limit and (limit, f"JAX's share of {device.device_kind}"), True


def _tensorflow_memory():
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return None, False
    # TensorFlow only tells how much memory is in use.
    command = ["nvidia-smi", "--query-gpu=memory.total,name", "--format=csv,noheader,nounits"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None, True
    mebibytes, name = shown.stdout.splitlines()[0].split(", ", 1)
    return (int(mebibytes) * 2**20, f"{name}, says nvidia-smi"), True


def _torch_memory():
    import torch

    if not torch.cuda.is_available():
        return None, False
    free, _ = torch.cuda.mem_get_info()
    return (free, f"free on {torch.cuda.get_device_name()} now"), True
