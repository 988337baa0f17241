"""The devices that a plan is for: how many, and how much they hold."""

import pathlib
import subprocess

import keras

from keras_deit.errors import InputError
from keras_deit.training.devices.jax_strategies import found_devices, sharing_devices
from keras_deit.training.strategies import Devices, check_backend

_MEMINFO = pathlib.Path("/proc/meminfo")


def count_devices(devices: Devices, given: int | None = None) -> tuple[int, int]:
    """How many copies of a model a training has, and how many devices share each.

    Args:
        devices: of the training.
        given: devices of all processes together, in place of those that are here.

    Raises:
        InputError: the backend has no such strategy, the devices are not there, or they cannot be
            shared evenly.
    """
    check_backend(devices)
    if devices.strategy == "none":
        if given not in (None, 1):
            raise InputError(
                f"--plan_devices {given} needs a --strategy that shares the batch among them."
            )
        return 1, 1
    processes = devices.num_processes or 1
    total = given or devices.virtual_devices * processes or _present(devices.strategy) * processes
    if total % processes:
        raise InputError(f"--plan_devices {total} cannot be shared evenly by {processes} processes")
    if keras.backend.backend() != "jax":
        return total, 1
    sharing = sharing_devices(devices, total // processes)
    return total // sharing, sharing


def device_memory(sharing_machine: int) -> tuple[int, str] | None:
    """Bytes that a device has for a training, and who says so; None where nobody does.

    Args:
        sharing_machine: devices that share the machine's memory where the device is its CPU.
    """
    on_accelerator = {"jax": _of_jax, "tensorflow": _of_tensorflow, "torch": _of_torch}
    found, accelerated = on_accelerator[keras.backend.backend()]()
    if accelerated:
        return found
    if not _MEMINFO.is_file():
        return None
    lines = dict(line.split(":") for line in _MEMINFO.read_text().splitlines())
    available = int(lines["MemAvailable"].split()[0]) * 1024
    return available // sharing_machine, "free on this machine now"


def _present(strategy: str) -> int:
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


# Each of these gives bytes and source, or None where they are unknown; and whether there is an
# accelerator at all.


def _of_jax():
    import jax

    device = jax.devices()[0]
    if device.platform == "cpu":
        return None, False
    limit = (device.memory_stats() or {}).get("bytes_limit")
    return limit and (limit, f"JAX's share of {device.device_kind}"), True


def _of_tensorflow():
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return None, False
    # TensorFlow tells what is in use, not what there is.
    command = ["nvidia-smi", "--query-gpu=memory.total,name", "--format=csv,noheader,nounits"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None, True
    mebibytes, name = shown.stdout.splitlines()[0].split(", ", 1)
    return (int(mebibytes) * 2**20, f"{name}, says nvidia-smi"), True


def _of_torch():
    import torch

    if not torch.cuda.is_available():
        return None, False
    free, _ = torch.cuda.mem_get_info()
    return (free, f"free on {torch.cuda.get_device_name()} now"), True
