"""The strategies of TensorFlow: `tf.distribute`."""

import contextlib
import socket

from keras_deit.core.errors import InputError


def scope(devices) -> contextlib.AbstractContextManager:
    """Returns the scope of a `tf.distribute` strategy.

    Args:
        devices: `Devices` whose strategy is "mirrored" or "tpu".

    Raises:
        InputError: there is no such hardware.
    """
    if devices.strategy == "tpu":
        if devices.model_devices:
            raise InputError("--model_devices needs the JAX backend (KERAS_BACKEND=jax).")
        return _tpu(devices.tpu)
    return _mirrored(devices.virtual_devices)


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
    """Raises OSError if nothing listens at a grpc address; TensorFlow would wait for it forever."""
    if address.startswith("grpc://"):
        host, _, port = address.removeprefix("grpc://").rpartition(":")
        socket.create_connection((host, int(port)), timeout=10).close()
