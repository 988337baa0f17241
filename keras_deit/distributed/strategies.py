"""The devices of a training: one device, all GPUs of a machine, a TPU, or several machines."""

import contextlib
import dataclasses
from typing import Literal, get_args

import keras

from keras_deit.core.errors import InputError
from keras_deit.distributed import jax_strategies, tensorflow_strategies

# The strategies of each backend besides "none".
_OF_BACKEND = {
    "tensorflow": ("mirrored", "tpu"),
    "jax": ("data_parallel", "model_parallel", "tpu"),
    "torch": (),
}
Strategy = Literal["none", "mirrored", "data_parallel", "model_parallel", "tpu"]
_PROCESSES = ("coordinator_address", "num_processes", "process_id")


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of a training. They do not change what it computes.

    Attributes:
        strategy: distribution strategy: "none" for the default device of the backend. On
            TensorFlow: "mirrored" for all GPUs of the machine (`tf.distribute.MirroredStrategy`),
            or "tpu" (`tf.distribute.TPUStrategy`). On JAX (`keras.distribution`): "data_parallel"
            for all devices of all processes, each with a copy of the model and a shard of the
            batch; "model_parallel" to shard the weights of the blocks too; or "tpu" for either of
            the two on TPU devices.
        tpu: name or grpc address of the TPU for the strategy "tpu" on TensorFlow; empty for the TPU
            of this machine.
        virtual_devices: number of virtual devices to split the CPU into, to try a strategy without
            several devices; 0 for none.
        model_devices: number of devices of a process that share a copy of the model. By default,
            0, all devices with the strategy "model_parallel", and one with "tpu" on JAX.
        coordinator_address: HOST:PORT of process 0, if several JAX processes train together.
        num_processes: number of JAX processes that train together.
        process_id: number of this process among the JAX processes, from 0.
    """

    strategy: Strategy = "none"
    tpu: str = ""
    virtual_devices: int = 0
    model_devices: int = 0
    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None

    def __post_init__(self):
        if self.strategy not in get_args(Strategy):
            known = ", ".join(get_args(Strategy))
            raise InputError(f"--strategy should be one of {known}, not {self.strategy!r}.")
        for name in ("virtual_devices", "model_devices"):
            if getattr(self, name) < 0:
                raise InputError(f"--{name} should be 0 or more. Received: {getattr(self, name)}")
        self._check_needs("virtual_devices", ("mirrored", "data_parallel", "model_parallel"))
        self._check_needs("model_devices", ("model_parallel", "tpu"))
        self._check_needs("tpu", ("tpu",))
        self._check_processes()

    @property
    def several_processes(self) -> bool:
        return self.num_processes is not None

    def _check_needs(self, name: str, strategies: tuple[str, ...]) -> None:
        if getattr(self, name) and self.strategy not in strategies:
            raise InputError(
                f"--{name} goes with --strategy {' or '.join(strategies)}. "
                f"Received: --strategy {self.strategy}"
            )

    def _check_processes(self) -> None:
        missing = [f"--{name}" for name in _PROCESSES if getattr(self, name) is None]
        if len(missing) == len(_PROCESSES):
            return
        if missing:
            raise InputError(
                "--coordinator_address, --num_processes and --process_id go together. "
                f"Missing: {', '.join(missing)}"
            )
        if self.num_processes < 1:
            raise InputError(f"--num_processes should be above 0. Received: {self.num_processes}")
        if not 0 <= self.process_id < self.num_processes:
            raise InputError(
                f"--process_id should be from 0 to {self.num_processes - 1}, one for each of the "
                f"{self.num_processes} processes. Received: {self.process_id}"
            )
        host, _, port = self.coordinator_address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise InputError(
                f"--coordinator_address should be HOST:PORT. Received: {self.coordinator_address!r}"
            )


def strategy_scope(devices: Devices) -> contextlib.AbstractContextManager:
    """Returns a context that creates variables on a training's devices and shares batches by them.

    Call it before the backend has used a device. Several processes must draw the same random
    numbers, so set the same seed in all of them (`keras.utils.set_random_seed`) before variables
    are created.

    Args:
        devices: what to run on.

    Raises:
        InputError: the present backend has no such strategy, or there are no such devices.
    """
    check_backend(devices)
    if devices.strategy == "none":
        return contextlib.nullcontext()
    if keras.backend.backend() == "jax":
        return jax_strategies.scope(devices)
    return tensorflow_strategies.scope(devices)


def check_backend(devices: Devices) -> None:
    """Checks that the present backend has the strategy, without using a device.

    Raises:
        InputError: it does not.
    """
    backend = keras.backend.backend()
    if devices.several_processes and backend != "jax":
        raise InputError(
            "--num_processes needs the JAX backend (KERAS_BACKEND=jax). Keras runs on "
            f"{backend}, where {_instead(backend)}; its fit fails under TensorFlow's "
            "MultiWorkerMirroredStrategy."
        )
    if devices.several_processes and devices.strategy == "none":
        raise InputError(
            "--num_processes needs --strategy data_parallel, model_parallel or tpu. "
            "Received: --strategy none"
        )
    if devices.strategy not in ("none", *_OF_BACKEND[backend]):
        raise InputError(
            f"--strategy {devices.strategy} needs the {_backends_of(devices.strategy)} backend. "
            f"Keras runs on {backend}, where {_instead(backend)}."
        )


def _backends_of(strategy: str) -> str:
    names = {"tensorflow": "TensorFlow", "jax": "JAX"}
    return " or ".join(name for key, name in names.items() if strategy in _OF_BACKEND[key])


def _instead(backend: str) -> str:
    return {
        "tensorflow": "--strategy mirrored shares the batch among the GPUs of one machine",
        "jax": "--strategy data_parallel shares the batch among all devices",
        "torch": "only --strategy none works, on one device",
    }[backend]
