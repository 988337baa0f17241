"""On how many devices a step runs, and what of it is compiled with XLA."""

import keras
import numpy as np


def replicas() -> int:
    """Devices that share the batch, of all processes together; 1 outside of a strategy.

    Under model parallelism the devices that share a copy of the model count as one.
    """
    if keras.backend.backend() == "jax":
        distribution = keras.distribution.distribution()
        return 1 if distribution is None else distribution.num_model_replicas
    return summed_replicas()


def summed_replicas() -> int:
    """Replicas of a `tf.distribute` strategy; else 1.

    Each computes the loss of its own images, and the gradients of all are added up. On JAX there
    is one program, whose loss is that of the whole batch.
    """
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def process_share() -> tuple[int, int]:
    """This process's number and how many there are: (0, 1) unless JAX runs several."""
    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    # Asking for the number of processes would start JAX's devices.
    if not jax.distributed.is_initialized():
        return 0, 1
    return jax.process_index(), jax.process_count()


def is_writer() -> bool:
    """Whether this process is the one of all that writes files and talks to the user."""
    return process_share()[0] == 0


def wait_for_all_processes(place: str) -> None:
    """Returns once every process has come to the same place.

    Args:
        place: its name, for the error where they come to different ones.
    """
    if process_share()[1] > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(place)


def gathered(texts: list[str]) -> list[str]:
    """The texts of all processes, each once and sorted; to be called by all of them."""
    if process_share()[1] == 1:
        return sorted(set(texts))
    from jax.experimental import multihost_utils

    own = np.array(bytearray("\n".join(texts).encode()), np.uint8)
    lengths = multihost_utils.process_allgather(np.array([own.size])).reshape(-1)
    padded = np.zeros(int(lengths.max()), np.uint8)
    padded[: own.size] = own
    rows = multihost_utils.process_allgather(padded)
    found = [bytes(row[: int(length)]).decode() for row, length in zip(rows, lengths, strict=True)]
    return sorted({text for one in found for text in one.split("\n") if text})


def jit_plan(wanted: bool | str, student: keras.Model) -> tuple[bool | str, bool]:
    """How a student beside a teacher is compiled where Keras's own choice is slow or fails.

    Args:
        wanted: the `jit_compile` that the user gave: True, False or "auto".
        student: "auto" compiles it only where all its layers say that XLA can.

    Returns:
        What to tell Keras for the whole step, and whether to compile the student's part alone.
        Keras leaves XLA off on TensorFlow without an accelerator, although a transformer's step
        gains from it there; a convnet teacher loses many times more, because XLA on the CPU does
        without oneDNN's convolutions. So there the student's part is compiled and the teacher's
        is not. Under `tf.distribute` nothing is: XLA and its collectives do not go together.
    """
    if wanted is False or keras.backend.backend() != "tensorflow":
        return wanted, False
    import tensorflow as tf

    if tf.distribute.has_strategy():
        return False, False
    devices = tf.config.list_logical_devices()
    on_accelerator = any(device.device_type in ("GPU", "TPU") for device in devices)
    if on_accelerator:
        return wanted, False
    return False, wanted is True or _xla_can(student)


def _xla_can(model: keras.Model) -> bool:
    return model.supports_jit and all(
        _xla_can(layer) if isinstance(layer, keras.Model) else layer.supports_jit
        for layer in model.layers
    )


def compiled_on_tensorflow(step):
    """`step` as a function of its own that XLA compiles, inside one that it does not."""
    import tensorflow as tf

    return tf.function(step, jit_compile=True, autograph=False, reduce_retracing=True)
