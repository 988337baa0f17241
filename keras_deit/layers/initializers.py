"""The initializers of the published models.

Each function returns a new initializer, because a Keras initializer that is used twice draws the
same values twice.
"""

import contextlib
import contextvars
import math
from collections.abc import Iterator

import keras
from keras import initializers, ops

_skips_init = contextvars.ContextVar("skips_init", default=False)


@contextlib.contextmanager
def skip_init() -> Iterator[None]:
    """Makes dense kernels, tokens and positions start as NaN in the block.

    For models whose weights come from a file: drawing random values takes longer than reading, and
    NaN shows which weights the file did not have.
    """
    token = _skips_init.set(True)
    try:
        yield
    finally:
        _skips_init.reset(token)


@keras.saving.register_keras_serializable(package="keras_deit")
class DenseKernel(initializers.RandomNormal):
    """A normal distribution, or NaN inside `skip_init`."""

    def __call__(self, shape, dtype=None):
        if _skips_init.get():
            return ops.full(shape, float("nan"), dtype)
        return super().__call__(shape, dtype)


def dense_kernel() -> initializers.Initializer:
    """Returns N(0, 0.02²), for dense kernels, tokens and positions.

    The authors' truncated normal distribution cuts at ±2, which is a hundred standard deviations.
    Keras's `TruncatedNormal(0.02)` cuts at two and has a standard deviation of 0.0176.
    """
    return DenseKernel(stddev=0.02)


def conv_kernel() -> initializers.Initializer:
    """Returns U(−b, b) with b = 1/√fan_in: PyTorch's default, which the authors keep for
    convolutions."""
    return initializers.VarianceScaling(scale=1 / 3, mode="fan_in", distribution="uniform")


def conv_bias(fan_in: int) -> initializers.Initializer:
    """Returns U(−b, b) with b = 1/√fan_in, the bias that goes with `conv_kernel`.

    Args:
        fan_in: input channels per group × kernel height × kernel width.
    """
    return _uniform(fan_in)


def depthwise_kernel(kernel_size: int) -> initializers.Initializer:
    """Returns PyTorch's default for a depthwise convolution, where a filter sees one channel.

    Keras would count all channels as fan_in.

    Args:
        kernel_size: side of a filter.
    """
    return _uniform(kernel_size**2)


def _uniform(fan_in: int) -> initializers.Initializer:
    bound = 1 / math.sqrt(fan_in)
    return initializers.RandomUniform(-bound, bound)
