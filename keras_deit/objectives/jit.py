"""The choice of the part of a training step that XLA compiles."""

import keras

from keras_deit.core.processes import has_accelerator


def jit_plan(wanted: bool | str, student: keras.Model) -> tuple[bool | str, bool]:
    """Decides what to compile, because Keras's own choice is slow or fails in some cases.

    Keras does not use XLA on TensorFlow without an accelerator, although a transformer's step is
    faster with it. A convnet teacher is many times slower, because XLA on the CPU does not use
    oneDNN's convolutions. So there the student's part of the step is compiled and the teacher's is
    not. Under `tf.distribute` nothing is, because XLA and its collectives do not work together.

    Args:
        wanted: argument `jit_compile` of the user: True, False or "auto".
        student: model that "auto" compiles only if all its layers support it.

    Returns:
        The `jit_compile` for Keras's step, and whether to compile the student's part by itself.
    """
    if wanted is False or keras.backend.backend() != "tensorflow":
        return wanted, False
    import tensorflow as tf

    if tf.distribute.has_strategy():
        return False, False
    if has_accelerator():
        return wanted, False
    return False, wanted is True or _supports_jit(student)


def _supports_jit(model: keras.Model) -> bool:
    return model.supports_jit and all(
        _supports_jit(layer) if isinstance(layer, keras.Model) else layer.supports_jit
        for layer in model.layers
    )


def compiled_on_tensorflow(step):
    """Returns a step that XLA compiles, for use inside a function that XLA does not compile."""
    import tensorflow as tf

    return tf.function(step, jit_compile=True, autograph=False, reduce_retracing=True)
