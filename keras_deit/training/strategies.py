"""Where a training runs: one device, all GPUs of a machine, a TPU."""

import contextlib
import socket

import keras

from keras_deit.errors import InputError

STRATEGIES = ("none", "mirrored", "tpu")


def strategy_scope(name: str, tpu: str = "", virtual_devices: int = 0):
    """A context in which variables are made on the devices of a strategy.

    Args:
        name: "none" for the backend's default device; "mirrored" for all GPUs under
            `tf.distribute.MirroredStrategy`; "tpu" for `tf.distribute.TPUStrategy`.
        tpu: name or grpc address of the TPU; empty for the one of this machine.
        virtual_devices: split the CPU into this many devices and mirror over them, to try
            "mirrored" without GPUs; 0 for no.

    Raises:
        InputError: the strategy is not one of TensorFlow's while another backend runs, or its
            hardware is not there.
    """
    if name not in STRATEGIES:
        raise InputError(f"--strategy should be one of {', '.join(STRATEGIES)}, not {name!r}.")
    if name == "none":
        return contextlib.nullcontext()
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise InputError(
            f"--strategy {name} needs the TensorFlow backend (KERAS_BACKEND=tensorflow); "
            f"Keras runs on {backend}, where --strategy none works."
        )
    return _mirrored(virtual_devices) if name == "mirrored" else _tpu(tpu)


def _mirrored(virtual_devices: int):
    import tensorflow as tf

    if virtual_devices:
        return tf.distribute.MirroredStrategy(_split_cpu(virtual_devices)).scope()
    gpus = tf.config.list_logical_devices("GPU")
    if not gpus:
        raise InputError(
            "--strategy mirrored found no GPU that TensorFlow can use; "
            "use --strategy none, or try it with --virtual_devices 2."
        )
    return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus]).scope()


def _split_cpu(count: int) -> list[str]:
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(cpu) or ()) != count:
        try:
            devices = [tf.config.LogicalDeviceConfiguration()] * count
            tf.config.set_logical_device_configuration(cpu, devices)
        except RuntimeError as error:
            raise InputError(
                "--virtual_devices must be set before TensorFlow has used a device; "
                "start a new process."
            ) from error
    return [f"CPU:{index}" for index in range(count)]


def _tpu(address: str):
    import tensorflow as tf

    try:
        _check_reachable(address)
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=address)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver).scope()
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        where = f"at {address!r}" if address else "on this machine (--tpu gives an address)"
        raise InputError(f"--strategy tpu found no TPU {where}: {reason}") from error


def _check_reachable(address: str) -> None:
    """Raises OSError where nobody answers at a grpc address: TensorFlow would wait for ever."""
    if address.startswith("grpc://"):
        host, _, port = address.removeprefix("grpc://").rpartition(":")
        socket.create_connection((host, int(port)), timeout=10).close()
