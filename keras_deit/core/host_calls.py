"""Calls from a computation of the backend to a function of NumPy arrays on the host."""

import os
from collections.abc import Callable

import keras
import numpy as np

# Threads of XLA's pool on the CPU: a program that waits for the host takes one, and handing the
# array over another one. By default there is one for each core.
_THREADS = 4


def reserve_threads() -> None:
    """Lets JAX on the CPU call the host on a machine of one core, where it would wait for ever.

    It has an effect before JAX uses its devices. For several devices `distributed` reserves more.
    """
    if keras.backend.backend() == "jax":
        os.environ.setdefault("NPROC", str(max(os.cpu_count() or 1, _THREADS)))


def call_on_host(function: Callable[[np.ndarray], np.ndarray], tensor, width: int):
    """Returns the result of a function of a NumPy array, also inside a compiled step.

    It has no gradient. XLA on TensorFlow does not compile it.

    Args:
        function: from an array (batch, ...) to a float32 array (batch, width).
        tensor: its argument, a tensor of the backend.
        width: length of the last axis of the result.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        result = tf.numpy_function(function, [tensor], tf.float32, stateful=False)
        result.set_shape((tensor.shape[0], width))
        return result
    if backend == "jax":
        import jax

        shape = jax.ShapeDtypeStruct((tensor.shape[0], width), "float32")
        return jax.pure_callback(lambda array: function(np.asarray(array)), shape, tensor)
    import torch

    result = function(tensor.detach().cpu().numpy())
    return torch.from_numpy(np.ascontiguousarray(result)).to(tensor.device)
