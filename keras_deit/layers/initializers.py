"""The initialisers of the published models.

Each function makes a new initialiser: a Keras initialiser that is used twice draws the same
values twice.
"""

import contextlib
import contextvars
import math
from collections.abc import Iterator

import keras
from keras import initializers, ops

_is_drawn = contextvars.ContextVar("is_drawn", default=True)


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """Inside, dense kernels, tokens and positions start at 0.

    For models whose weights come from a file: drawing them takes longer than reading them.
    """
    token = _is_drawn.set(False)
    try:
        yield
    finally:
        _is_drawn.reset(token)


@keras.saving.register_keras_serializable(package="keras_deit")
class DenseKernel(initializers.RandomNormal):
    """Keras's normal distribution, except inside `undrawn`."""

    def __call__(self, shape, dtype=None):
        return super().__call__(shape, dtype) if _is_drawn.get() else ops.zeros(shape, dtype)


def dense_kernel() -> initializers.Initializer:
    """N(0, 0.02²), for dense kernels, tokens and positions.

    The authors' truncated normal cuts at ±2, a hundred standard deviations, which is to say not
    at all; Keras's `TruncatedNormal(0.02)` cuts at two and comes out at 0.0176.
    """
    return DenseKernel(stddev=0.02)


def conv_kernel() -> initializers.Initializer:
    """U(−b, b) with b = 1/√fan_in: PyTorch's default, which the authors keep for convolutions."""
    return initializers.VarianceScaling(scale=1 / 3, mode="fan_in", distribution="uniform")


def conv_bias(fan_in: int) -> initializers.Initializer:
    """U(−b, b) with b = 1/√fan_in, the bias that goes with `conv_kernel`.

    Args:
        fan_in: input channels per group × kernel height × kernel width.
    """
    return _uniform(fan_in)


def depthwise_kernel(kernel_size: int) -> initializers.Initializer:
    """PyTorch's default for a depthwise convolution, whose filters see one channel each; Keras
    would count every channel to fan_in.

    Args:
        kernel_size: side of a filter.
    """
    return _uniform(kernel_size**2)


def _uniform(fan_in: int) -> initializers.Initializer:
    bound = 1 / math.sqrt(fan_in)
    return initializers.RandomUniform(-bound, bound)
