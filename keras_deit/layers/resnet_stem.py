"""The ResNet that hybrids have in front of their patches: weight-standardized convolutions and
group normalization, as in BiT ("Big Transfer", Kolesnikov et al., 2020, §2.2)."""

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


def _group_means(groups):
    """Returns the means of (batch, rows, columns, groups, channels) for each image and group.

    In two steps, which takes less time than one and has a quarter of the rounding error on PyTorch.
    """
    return ops.mean(ops.mean(groups, axis=2, keepdims=True), axis=(1, 4), keepdims=True)


@keras.saving.register_keras_serializable(package="keras_deit")
class GroupNorm(keras.layers.Layer):
    """Group normalization over the grid and 1/32 of the channels, with a scale and an offset for
    each channel ("Group Normalization", Wu and He, 2018, §3.1).

    It is computed in float32 under every dtype policy, with the variance of the centered values.
    On PyTorch Keras's own layer subtracts two squares, which has few right digits where the mean is
    far from 0.

    Args:
        epsilon: added to the variance.
        gamma_init: initial scale.

    Input and output: a grid (batch, height, width, channels); a multiple of 32 channels.

    Raises:
        InputError: the channels are no multiple of 32.
    """

    def __init__(self, epsilon: float = 1e-6, gamma_init: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.gamma_init = gamma_init

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels % _GROUPS:
            raise InputError(
                f"The channels of a ResNet should be multiples of {_GROUPS}, the groups of its "
                f"normalization. Received: {channels}"
            )
        initial = keras.initializers.Constant(self.gamma_init)
        options = {"shape": (channels,), "autocast": False}
        self.gamma = self.add_weight(initializer=initial, name="gamma", **options)
        self.beta = self.add_weight(initializer="zeros", name="beta", **options)

    def call(self, grid):
        _, rows, columns, channels = grid.shape
        shape = (-1, rows, columns, _GROUPS, channels // _GROUPS)
        groups = ops.reshape(ops.cast(grid, self.variable_dtype), shape)
        centered = groups - _group_means(groups)
        variance = _group_means(ops.square(centered))
        normalized = ops.reshape(
            centered * ops.rsqrt(variance + self.epsilon), (-1, rows, columns, channels)
        )
        return ops.cast(normalized * self.gamma + self.beta, self.compute_dtype)

    def macs(self, input_shape) -> int:
        """Returns 0, as of every norm."""
        return 0

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the input, the centered and the normalized values, in float32."""
        return SavedActivations(0, 3 * math.prod(input_shape[1:]))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon, "gamma_init": self.gamma_init}


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
        self.width = width
        self.standardization = standardization
        self.norm_epsilon = norm_epsilon

    def _conv(self, filters: int, kernel_size: int, strides: int, name: str) -> StandardizedConv:
        return StandardizedConv(
            filters, kernel_size, strides, self.standardization, dtype=self.dtype_policy, name=name
        )

    def _norm(self, name: str, gamma_init: float = 1.0) -> GroupNorm:
        return GroupNorm(self.norm_epsilon, gamma_init, dtype=self.dtype_policy, name=name)

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

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image."""
        return self.conv.macs(input_shape)

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the image, the norm, the ReLU and the maximum."""
        made = math.prod(self.conv.compute_output_shape(input_shape)[1:])
        pooled = math.prod(self.compute_output_shape(input_shape)[1:])
        norm = self.norm.saved_activations((1, made), costs)
        return norm + SavedActivations(math.prod(input_shape[1:]) + made + pooled)

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
        self.norms = [self._norm("norm1"), self._norm("norm2"), self._norm("norm3", gamma_init=0.0)]
        if self.strides != 1 or input_shape[-1] != outputs:
            self.convs.append(self._conv(outputs, 1, self.strides, "shortcut_conv"))
            self.norms.append(self._norm("shortcut_norm"))
        steps = zip(self._steps(input_shape), self.norms, strict=True)
        for (conv, shape), norm in steps:
            conv.build(shape)
            norm.build(conv.compute_output_shape(shape))

    def _steps(self, input_shape):
        """Yields the convolutions with the shapes of their inputs."""
        shape = input_shape
        for conv in self.convs[:3]:
            yield conv, shape
            shape = conv.compute_output_shape(shape)
        for conv in self.convs[3:]:
            yield conv, input_shape

    def call(self, grid):
        (conv1, conv2, conv3, *shortcut), (norm1, norm2, norm3, *norms) = self.convs, self.norms
        branch = ops.relu(norm1(conv1(grid)))
        branch = ops.relu(norm2(conv2(branch)))
        branch = norm3(conv3(branch))
        if shortcut:
            grid = norms[0](shortcut[0](grid))
        return ops.relu(grid + branch)

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image."""
        return sum(conv.macs(shape) for conv, shape in self._steps(input_shape))

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the norms and the ReLUs; the input is the ReLU of what comes before."""
        made = [
            math.prod(conv.compute_output_shape(shape)[1:])
            for conv, shape in self._steps(input_shape)
        ]
        norms = self.norms[0].saved_activations((1, sum(made)), costs)
        return norms + SavedActivations(sum(made[:3]))

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        rows, columns = -(-height // self.strides), -(-width // self.strides)
        return (batch, rows, columns, _EXPANSION * self.width)

    def get_config(self):
        return {**super().get_config(), "strides": self.strides}
