"""The ResNet that hybrids have in front of their patches: weight-standardized convolutions and group
normalization, as in BiT ("Big Transfer", Kolesnikov et al., 2020, §2.2)."""

import math

import keras
from keras import ops

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.layers.activations import ActivationCosts, SavedActivations
from keras_deit.layers.settings import CompositeLayer

# The channels of a group normalization are this many groups.
_GROUPS = 32
# The channels that a unit returns divided by those of its 3×3 convolution.
_EXPANSION = 4
STANDARDIZATIONS = ("deviation", "variance")


def _standardized(kernel, standardization: str):
    """Returns a kernel whose filters have mean 0 and variance 1 over rows, columns and inputs."""
    centered = kernel - ops.mean(kernel, axis=(0, 1, 2), keepdims=True)
    variance = ops.mean(ops.square(centered), axis=(0, 1, 2), keepdims=True)
    if standardization == "deviation":
        return centered / (ops.sqrt(variance) + 1e-5)
    return centered * ops.rsqrt(variance + 1e-8)


@keras.saving.register_keras_serializable(package="keras_deit")
class StandardizedConv(keras.layers.Layer):
    """A convolution without bias whose filters are standardized before use ("Micro-Batch Training
    with Batch-Channel Normalization and Weight Standardization", Qiao et al., 2019, §3.1).

    The padding is TensorFlow's "same": on an even side with stride 2 one pixel less before than
    after. The standardization is computed in float32 under every dtype policy.

    Args:
        filters: number of output channels.
        kernel_size: side of a filter in pixels.
        strides: pixels from one output to the next.
        standardization: where the epsilon is: "deviation" divides by the standard deviation + 1e-5,
            as ViT's authors do; "variance" by √(variance + 1e-8), as timm does.

    Input: a grid (batch, height, width, channels).
    Output: a grid (batch, ⌈height/strides⌉, ⌈width/strides⌉, filters).

    Raises:
        InputError: there is no such standardization.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        standardization: str = "deviation",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if standardization not in STANDARDIZATIONS:
            raise unknown_name("standardization", standardization, STANDARDIZATIONS)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.standardization = standardization

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=(self.kernel_size, self.kernel_size, input_shape[-1], self.filters),
            initializer=keras.initializers.LecunNormal(),
            name="kernel",
            # The variance of a kernel in 16 bits would be wrong.
            autocast=False,
        )

    def call(self, grid):
        kernel = ops.cast(_standardized(self.kernel, self.standardization), self.compute_dtype)
        return ops.conv(grid, kernel, self.strides, "same", data_format="channels_last")

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image."""
        positions = math.prod(self.compute_output_shape(input_shape)[1:3])
        return positions * math.prod(self.kernel.shape)

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the input."""
        return SavedActivations(math.prod(input_shape[1:]))

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, -(-height // self.strides), -(-width // self.strides), self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "standardization": self.standardization,
        }


class _ResNetLayer(CompositeLayer):
    """The base of the layers that consist of such convolutions, each with a norm behind it.

    Args:
        width: channels of the 3×3 convolutions; a multiple of 32.
        standardization: as in `StandardizedConv`.
        norm_epsilon: epsilon of the group normalizations: 1e-6 of ViT's authors, 1e-5 in timm.
    """

    def __init__(
        self, width: int, standardization: str = "deviation", norm_epsilon: float = 1e-6, **kwargs
    ):
        super().__init__(**kwargs)
        if width % _GROUPS:
            raise InputError(
                f"The width of a ResNet should be a multiple of {_GROUPS}, the groups of its "
                f"normalization. Received: {width}"
            )
        self.width = width
        self.standardization = standardization
        self.norm_epsilon = norm_epsilon

    def _conv(self, filters: int, kernel_size: int, strides: int, name: str) -> StandardizedConv:
        return StandardizedConv(
            filters, kernel_size, strides, self.standardization, dtype=self.dtype_policy, name=name
        )

    def _norm(self, name: str, gamma: str = "ones") -> keras.layers.GroupNormalization:
        # Its statistics are computed in float32 under every dtype policy.
        return keras.layers.GroupNormalization(
            _GROUPS,
            axis=-1,
            epsilon=self.norm_epsilon,
            gamma_initializer=gamma,
            dtype=self.dtype_policy,
            name=name,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "width": self.width,
            "standardization": self.standardization,
            "norm_epsilon": self.norm_epsilon,
        }


@keras.saving.register_keras_serializable(package="keras_deit")
class ResNetRoot(_ResNetLayer):
    """The first layers of a ResNet: a 7×7 convolution of stride 2, group normalization, ReLU and a
    3×3 maximum of stride 2.

    Args:
        width: number of output channels; a multiple of 32.
        standardization: as in `StandardizedConv`.
        norm_epsilon: epsilon of the group normalization.

    Input: images (batch, height, width, channels).
    Output: a grid (batch, ⌈height/4⌉, ⌈width/4⌉, width).

    Raises:
        InputError: the width is no multiple of 32.
    """

    def build(self, input_shape):
        self.conv = self._conv(self.width, 7, 2, "conv")
        self.norm = self._norm("norm")
        self.conv.build(input_shape)
        self.norm.build(self.conv.compute_output_shape(input_shape))

    def call(self, images):
        grid = ops.relu(self.norm(self.conv(images)))
        return ops.max_pool(grid, 3, 2, "same", data_format="channels_last")

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = self.conv.compute_output_shape(input_shape)
        return (batch, -(-height // 2), -(-width // 2), self.width)


@keras.saving.register_keras_serializable(package="keras_deit")
class BottleneckUnit(_ResNetLayer):
    """relu(x + F(x)), where F is a 1×1, a 3×3 and a 1×1 convolution, each with group normalization,
    and ReLU between them ("Deep Residual Learning for Image Recognition", He et al., 2016, §4.1).

    The stride is that of the 3×3 convolution. Where F changes the shape, a 1×1 convolution with
    group normalization brings x to it. The last scale of F starts at 0, so that a new unit is close
    to the identity.

    Args:
        width: channels of the 3×3 convolution; a multiple of 32. The output has four times as many.
        strides: stride of the 3×3 convolution.
        standardization: as in `StandardizedConv`.
        norm_epsilon: epsilon of the group normalizations.

    Input: a grid (batch, height, width, channels).
    Output: a grid (batch, ⌈height/strides⌉, ⌈width/strides⌉, 4·width).

    Raises:
        InputError: the width is no multiple of 32.
    """

    def __init__(
        self,
        width: int,
        strides: int = 1,
        standardization: str = "deviation",
        norm_epsilon: float = 1e-6,
        **kwargs,
    ):
        super().__init__(width, standardization, norm_epsilon, **kwargs)
        self.strides = strides

    def build(self, input_shape):
        outputs = _EXPANSION * self.width
        self.convs = [
            self._conv(self.width, 1, 1, "conv1"),
            self._conv(self.width, 3, self.strides, "conv2"),
            self._conv(outputs, 1, 1, "conv3"),
        ]
        self.norms = [self._norm("norm1"), self._norm("norm2"), self._norm("norm3", "zeros")]
        if self.strides != 1 or input_shape[-1] != outputs:
            self.convs.append(self._conv(outputs, 1, self.strides, "shortcut_conv"))
            self.norms.append(self._norm("shortcut_norm"))
        shapes = [input_shape]
        for conv, norm in zip(self.convs, self.norms, strict=True):
            built_on = input_shape if conv.name == "shortcut_conv" else shapes[-1]
            conv.build(built_on)
            shapes.append(conv.compute_output_shape(built_on))
            norm.build(shapes[-1])

    def call(self, grid):
        (conv1, conv2, conv3, *shortcut), (norm1, norm2, norm3, *norms) = self.convs, self.norms
        branch = ops.relu(norm1(conv1(grid)))
        branch = ops.relu(norm2(conv2(branch)))
        branch = norm3(conv3(branch))
        if shortcut:
            grid = norms[0](shortcut[0](grid))
        return ops.relu(grid + branch)

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        rows, columns = -(-height // self.strides), -(-width // self.strides)
        return (batch, rows, columns, _EXPANSION * self.width)

    def get_config(self):
        return {**super().get_config(), "strides": self.strides}
