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

from keras_deit.core.errors import unknown_name

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


class _Skippable:
    """Gives NaN inside `skip_init`."""

    def __call__(self, shape, dtype=None):
        if _skips_init.get():
            return ops.full(shape, float("nan"), dtype)
        return super().__call__(shape, dtype)


@keras.saving.register_keras_serializable(package="keras_deit")
class DenseKernel(_Skippable, initializers.RandomNormal):
    """A normal distribution, or NaN inside `skip_init`."""


@keras.saving.register_keras_serializable(package="keras_deit")
class ScaledKernel(_Skippable, initializers.VarianceScaling):
    """Values scaled by the width of the layer, or NaN inside `skip_init`."""


def dense_kernel() -> initializers.Initializer:
    """Returns N(0, 0.02²), for dense kernels, tokens and positions.

    The authors' truncated normal distribution cuts at ±2, which is a hundred standard deviations.
    Keras's `TruncatedNormal(0.02)` cuts at two and has a standard deviation of 0.0176.
    """
    return DenseKernel(stddev=0.02)


# The values of `kernel_init`: the mode and distribution of `VarianceScaling`, and its scale.
_SCALED = {
    "xavier_normal": ("fan_avg", "untruncated_normal", 1.0),
    "xavier_uniform": ("fan_avg", "uniform", 1.0),
    "lecun_normal": ("fan_in", "truncated_normal", 1.0),
    "torch": ("fan_in", "uniform", 1 / 3),
}
_KERNELS = ("normal", "zeros", *_SCALED)


def dense_initializers(
    kernel_init: str, fan_in: int, scale: float = 1.0, may_skip: bool = True
) -> dict:
    """Returns the initializers of a dense layer or a convolution, as arguments of the layer.

    Args:
        kernel_init: "normal" for N(0, 0.02²), as in DeiT; "xavier_normal" and "xavier_uniform" for
            a variance of 2/(fan_in + fan_out) (Glorot and Bengio, 2010); "lecun_normal" for one of
            1/fan_in, Flax's default; "torch" for PyTorch's default, which is uniform within
            ±1/√fan_in for the kernel and the bias; "zeros". The biases of the others are 0.
        fan_in: number of inputs of an output.
        scale: factor of the variance, except that of "normal".
        may_skip: whether `skip_init` applies. It should not to a head, which may be new in a model
            whose other weights come from a file, except that of "normal".

    Raises:
        InputError: `kernel_init` is something else.
    """
    if kernel_init not in _KERNELS:
        raise unknown_name("kernel_init", kernel_init, _KERNELS)
    if kernel_init in _SCALED:
        mode, distribution, factor = _SCALED[kernel_init]
        kind = ScaledKernel if may_skip else initializers.VarianceScaling
        kernel = kind(scale * factor, mode, distribution)
    else:
        kernel = dense_kernel() if kernel_init == "normal" else "zeros"
    # Initializers draw their seeds in the order in which they are made.
    bias = conv_bias(fan_in) if kernel_init == "torch" else "zeros"
    return {"kernel_initializer": kernel, "bias_initializer": bias}


# The values of `initializer` of tokens and positions.
_TOKENS = {
    "normal": dense_kernel,
    "unit_normal": lambda: initializers.RandomNormal(stddev=1.0),
    "tiny_normal": lambda: initializers.RandomNormal(stddev=1e-6),
    "zeros": initializers.Zeros,
}


def token_initializer(name: str) -> initializers.Initializer:
    """Returns the initializer of tokens or positions.

    Args:
        name: "normal" for N(0, 0.02²), "unit_normal" for N(0, 1), "tiny_normal" for N(0, 10⁻¹²), or
            "zeros".

    Raises:
        InputError: it is something else.
    """
    if name not in _TOKENS:
        raise unknown_name("initializer", name, _TOKENS)
    return _TOKENS[name]()


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
