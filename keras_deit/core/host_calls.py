"""Calls from a computation of the backend to a function of NumPy arrays on the host."""

from collections.abc import Callable

import keras
import numpy as np


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
