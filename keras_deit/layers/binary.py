"""Layers whose products are of signs: the dense layer and convolution of BinaryViT, RPReLU, and the
two together with a norm and a shortcut.

"BinaryViT: Pushing Binary Vision Transformers Towards Convolutional Models" (Le and Li, 2023);
github.com/Phuoc-Hoan-Le/BinaryViT. A sign has no useful gradient, so that each function here is
given that of another one ("straight through").

A rounding error flips the signs of numbers near 0. Under every dtype policy these layers therefore
compute in the dtype of their variables, and return the policy's compute dtype.
"""

import math
from collections.abc import Callable

import keras
from keras import ops

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.processes import num_replicas_in_sync
from keras_deit.layers.activations import ActivationCosts, SavedActivations
from keras_deit.layers.initializers import dense_initializers
from keras_deit.layers.introspection import MODEL_AXIS
from keras_deit.layers.settings import CompositeLayer

# The initial slope of PReLU below 0, PyTorch's default.
_SLOPE = 0.25
_NORM_EPSILON = 1e-5
NORMS = ("batch", "layer")


def straight_through(value, smooth):
    """Returns `value`, to the bit, with the gradient of `smooth`."""
    return ops.stop_gradient(value) + (smooth - ops.stop_gradient(smooth))


def sign(inputs):
    """Returns the signs −1, 0 and 1, with the gradient max(2 − 2·|x|, 0) ("Bi-Real Net", Liu et al.,
    2018, §3.3)."""
    clipped = ops.clip(inputs, -1.0, 1.0)
    return straight_through(ops.sign(inputs), 2 * clipped - clipped * ops.abs(clipped))


def _rounded_kernel(kernel, centered: bool):
    """Returns a kernel with two values ±mean|W| for each output, and what its gradient is of.

    Args:
        kernel: (..., outputs).
        centered: whether the signs are those of the distances from the mean of the output.
    """
    axes = tuple(range(len(kernel.shape) - 1))
    scale = ops.mean(ops.abs(kernel), axis=axes, keepdims=True)
    if centered:
        kernel = kernel - ops.mean(kernel, axis=axes, keepdims=True)
    return scale * ops.sign(kernel), ops.clip(kernel, -1.0, 1.0)


class _BinaryProduct(keras.layers.Layer):
    """What the binary dense layer and the binary convolution have in common: a learned shift before
    the signs, and a kernel of two values for each output. Neither has a bias.

    Args:
        outputs: number of outputs.
    """

    # Whether the mean of an output's weights is subtracted before their signs are taken.
    centers = True

    def __init__(self, outputs: int, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.outputs = outputs

    def _add_weights(self, *kernel_shape: int) -> None:
        initial = dense_initializers("torch", math.prod(kernel_shape[:-1]))
        self.shift = self.add_weight(
            shape=kernel_shape[-2:-1], initializer="zeros", autocast=False, name="shift"
        )
        self.kernel = self.add_weight(
            shape=kernel_shape,
            initializer=initial["kernel_initializer"],
            autocast=False,
            name="kernel",
        )

    def call(self, inputs):
        signs = sign(ops.cast(inputs, self.variable_dtype) + self.shift)
        kernel = straight_through(*_rounded_kernel(self.kernel, self.centers))
        return ops.cast(self.product(signs, kernel), self.compute_dtype)

    def binary_weights(self) -> list[tuple[keras.Variable, Callable]]:
        """Returns the variables that are computed with as two values for each output, and for each
        of them the function from its values to those."""
        return [(self.kernel, lambda values: _rounded_kernel(values, self.centers)[0])]

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image."""
        positions = math.prod(self.compute_output_shape(input_shape)[1:-1])
        return positions * math.prod(self.kernel.shape)

    def binary_macs(self, input_shape) -> int:
        """Returns those multiply-adds of signs for one image: all."""
        return self.macs(input_shape)

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the input, of which the signs and their gradient are computed again."""
        return SavedActivations(math.prod(input_shape[1:]))

    def get_config(self):
        return {**super().get_config(), "outputs": self.outputs}


@keras.saving.register_keras_serializable(package="keras_deit")
class BinaryDense(_BinaryProduct):
    """sign(x + s)·B with a learned shift s of each input, and a kernel B of two values for each
    output: mean|W| times the signs of W minus its mean (BinaryViT; the shift is ReActNet's).

    The kernel W that is trained gets the gradient of clip(W − mean W, −1, 1), and none by way of
    mean|W|.

    Args:
        outputs: width of the output.

    Input: (..., width). Output: (..., outputs).
    """

    def build(self, input_shape):
        self._add_weights(input_shape[-1], self.outputs)

    def product(self, signs, kernel):
        return ops.matmul(signs, kernel)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.outputs)


@keras.saving.register_keras_serializable(package="keras_deit")
class BinaryConv(_BinaryProduct):
    """The same as a convolution whose stride is the side of its filters, between two stages.

    The weights of a filter are not centered, as in the authors' code.

    Args:
        outputs: number of filters.
        kernel_size: side of a filter.

    Input: a grid (batch, height, width, channels).
    Output: a grid (batch, height//kernel_size, width//kernel_size, outputs).
    """

    centers = False

    def __init__(self, outputs: int, kernel_size: int = 2, **kwargs):
        super().__init__(outputs, **kwargs)
        self.kernel_size = kernel_size

    def build(self, input_shape):
        self._add_weights(self.kernel_size, self.kernel_size, input_shape[-1], self.outputs)

    def product(self, signs, kernel):
        return ops.conv(signs, kernel, self.kernel_size, "valid", data_format="channels_last")

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, height // self.kernel_size, width // self.kernel_size, self.outputs)

    def get_config(self):
        return {**super().get_config(), "kernel_size": self.kernel_size}


@keras.saving.register_keras_serializable(package="keras_deit")
class RPReLU(keras.layers.Layer):
    """PReLU(x − a) + b with learned a, b and slope for each channel ("ReActNet", Liu et al., 2020,
    §4.2).

    Input and output: (..., width).
    """

    def build(self, input_shape):
        width = (input_shape[-1],)
        self.before = self.add_weight(shape=width, initializer="zeros", name="before")
        self.slope = self.add_weight(
            shape=width, initializer=keras.initializers.Constant(_SLOPE), name="slope"
        )
        self.after = self.add_weight(shape=width, initializer="zeros", name="after")

    def call(self, inputs):
        shifted = inputs - self.before
        return ops.where(shifted > 0, shifted, shifted * self.slope) + self.after

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the shifted input."""
        size = math.prod(input_shape[1:])
        return SavedActivations(size, largest=size)

    def compute_output_shape(self, input_shape):
        return input_shape


def exact_policy(layer: keras.layers.Layer) -> keras.DTypePolicy:
    """Returns the dtype policy of the layers inside of one that computes as its variables are."""
    return keras.DTypePolicy(layer.variable_dtype)


def token_norm(kind: str, dtype: keras.DTypePolicy, name: str) -> keras.layers.Layer:
    """Returns a normalization of tokens.

    Args:
        kind: "batch" for the statistics of a channel over the batch and its tokens, as in
            BinaryViT; "layer" for those of a token.
        dtype: its dtype policy.
        name: its name.

    Raises:
        InputError: there is no such kind.
    """
    values = {"epsilon": _NORM_EPSILON, "dtype": dtype, "name": name}
    if kind == "layer":
        return keras.layers.LayerNormalization(**values)
    if kind != "batch":
        raise unknown_name("norm", kind, NORMS)
    # PyTorch's momentum of 0.1 is 0.9 in Keras. The replicas of one batch share its statistics.
    return keras.layers.BatchNormalization(
        momentum=0.9, synchronized=num_replicas_in_sync() > 1, **values
    )


def shortcut(tokens, width: int):
    """Returns tokens (batch, length, channels) in another width.

    A larger width repeats all channels, a smaller one has means of adjacent channels.
    """
    _, length, channels = tokens.shape
    if width >= channels:
        return ops.concatenate([tokens] * (width // channels), axis=-1)
    groups = ops.reshape(tokens, (-1, length, width, channels // width))
    return ops.mean(groups, axis=-1)


@keras.saving.register_keras_serializable(package="keras_deit")
class BinaryUnit(CompositeLayer):
    """RPReLU(Norm(BinaryDense(x)) + x), in which every dense layer of BinaryViT is.

    If the output is wider, the added x is repeated; if it is narrower, groups of adjacent channels
    are averaged.

    Args:
        outputs: width of the output, a multiple of the input's or a divisor of it.
        norm: the norm, as `token_norm` takes it.

    Input: tokens (batch, length, width). Output: tokens (batch, length, outputs).

    Raises:
        InputError: the widths do not fit each other, or there is no such norm.
    """

    def __init__(self, outputs: int, norm: str = "batch", **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.outputs = outputs
        self.norm_kind = norm

    def build(self, input_shape):
        smaller, larger = sorted((input_shape[-1], self.outputs))
        if larger % smaller:
            raise InputError(
                f"{self.name} adds its input to its output: widths {input_shape[-1]} and "
                f"{self.outputs} should be multiples of each other."
            )
        policy = exact_policy(self)
        self.dense = BinaryDense(self.outputs, dtype=policy, name="dense")
        self.norm = token_norm(self.norm_kind, policy, "norm")
        self.activation = RPReLU(dtype=policy, name="activation")
        self.dense.build(input_shape)
        made = self.compute_output_shape(input_shape)
        self.norm.build(made)
        self.activation.build(made)

    def call(self, tokens):
        tokens = ops.cast(tokens, self.variable_dtype)
        added = self.norm(self.dense(tokens)) + shortcut(tokens, self.outputs)
        return ops.cast(self.activation(added), self.compute_dtype)

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the inputs of the dense layer, of the norm and of RPReLU."""
        made = math.prod(self.compute_output_shape(input_shape)[1:])
        dense = self.dense.saved_activations(input_shape, costs)
        return dense + SavedActivations(2 * made, largest=made)

    def column_parallel(self):
        """Splits the kernel by its outputs."""
        return [(self.dense.kernel, (None, MODEL_AXIS))]

    def row_parallel(self):
        """Splits the kernel by its inputs."""
        return [(self.dense.kernel, (MODEL_AXIS, None))]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.outputs)

    def get_config(self):
        return {**super().get_config(), "outputs": self.outputs, "norm": self.norm_kind}
