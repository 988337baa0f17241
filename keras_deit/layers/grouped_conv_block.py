"""Residual blocks of convolutions with batch normalization, and their stem."""

import math

import keras
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.layers.activations import ActivationCosts, SavedActivations
from keras_deit.layers.block import Block
from keras_deit.layers.conv_block import SqueezeExcitation
from keras_deit.layers.initializers import DenseKernel
from keras_deit.layers.introspection import layer_macs
from keras_deit.layers.residual import StochasticDepth
from keras_deit.layers.settings import CompositeLayer


def _conv(channels: int, side: int, stride: int, dtype, name: str, groups: int = 1):
    """Returns a convolution without bias, from N(0, 2/fan_out) as in timm. It does not pad."""
    return keras.layers.Conv2D(
        channels,
        kernel_size=side,
        strides=stride,
        groups=groups,
        use_bias=False,
        kernel_initializer=DenseKernel(stddev=math.sqrt(2 * groups / (side**2 * channels))),
        data_format="channels_last",
        dtype=dtype,
        name=name,
    )


def _norm(dtype, name: str, gamma_init: str = "ones"):
    """Returns a batch normalization with PyTorch's epsilon and momentum, 0.1 of the new value."""
    return keras.layers.BatchNormalization(
        epsilon=1e-5, momentum=0.9, gamma_initializer=gamma_init, dtype=dtype, name=name
    )


def _padded(grid, border: int = 1):
    return ops.pad(grid, ((0, 0), (border, border), (border, border), (0, 0)))


def _padded_shape(shape, border: int = 1):
    batch, height, width, channels = shape
    return (batch, height + 2 * border, width + 2 * border, channels)


@keras.saving.register_keras_serializable(package="keras_deit")
class ConvNormStem(CompositeLayer):
    """A convolution of stride 2, batch normalization and ReLU ("Designing Network Design Spaces",
    Radosavovic et al., 2020, §3.1); in a ResNet a maximum over 3×3 with stride 2 follows (He et
    al., 2016, table 1).

    The padding is the same on every side, as in PyTorch.

    Args:
        width: number of output channels.
        side: side of the filters in pixels, an odd number.
        pooled: whether the maximum follows.

    Input: images (batch, height, width, channels).
    Output: a grid (batch, ⌈height/2⌉, ⌈width/2⌉, width), or half of that if it is pooled.
    """

    def __init__(self, width: int, side: int = 3, pooled: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.side = side
        self.pooled = pooled

    def build(self, input_shape):
        self.conv = _conv(self.width, self.side, 2, self.dtype_policy, "conv")
        self.norm = _norm(self.dtype_policy, "norm")
        self.conv.build(_padded_shape(input_shape, self.side // 2))
        self.norm.build(self._before_pooling(input_shape))

    def call(self, images):
        grid = ops.relu(self.norm(self.conv(_padded(images, self.side // 2))))
        if not self.pooled:
            return grid
        # No value is below the zeros around.
        return ops.max_pool(_padded(grid), 3, 2, data_format="channels_last")

    def _before_pooling(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, -(-height // 2), -(-width // 2), self.width)

    def patch_grid(self, input_shape) -> tuple[int, int]:
        """Returns rows and columns of the grid after it."""
        _, height, width, _ = self._before_pooling(input_shape)
        return (-(-height // 2), -(-width // 2)) if self.pooled else (height, width)

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image."""
        return layer_macs(self.conv, _padded_shape(input_shape, self.side // 2))

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the image, the norm, the ReLU and the maxima."""
        made = math.prod(self._before_pooling(input_shape)[1:])
        kept = made + self.pooled * math.prod(self.compute_output_shape(input_shape)[1:])
        return costs.norm(made) + SavedActivations(math.prod(input_shape[1:]) + kept)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.patch_grid(input_shape), self.width)

    def get_config(self):
        values = {"width": self.width, "side": self.side, "pooled": self.pooled}
        return {**super().get_config(), **values}


@keras.saving.register_keras_serializable(package="keras_deit")
class GroupedConvBlock(Block):
    """relu(S(x) + D(F(x))), where D is stochastic depth: the Y block of RegNet ("Designing Network
    Design Spaces", Radosavovic et al., 2020, §3.1 and appendix), and the bottleneck of a ResNet
    (He et al., 2016, figure 5).

    F is a 1×1 convolution, a 3×3 convolution in groups, squeeze-and-excitation, and a 1×1
    convolution. Each convolution has batch normalization, and the first two ReLU.
    The shortcut S is x, or a 1×1 convolution with batch normalization where F changes the shape.
    The last scale of F starts at 0, as in timm, so that a new block is close to its shortcut.

    Args:
        width: number of output channels, a multiple of `group_width`·`expansion`.
        group_width: channels of each group of the 3×3 convolution.
        strides: stride of the 3×3 convolution and of the shortcut's.
        squeeze_ratio: hidden width of the squeeze-and-excitation divided by the channels of the
            input; 0 for none.
        drop_path_rate: rate of the stochastic depth.
        expansion: `width` divided by the channels of the other two convolutions: 1 in RegNet, 4 in
            a ResNet, whose 3×3 convolution is one group.

    Input: a grid (batch, height, width, channels).
    Output: a grid (batch, ⌈height/strides⌉, ⌈width/strides⌉, width).

    Raises:
        InputError: the width is no multiple of that of the groups.
    """

    supports_activation_checkpointing = True

    def __init__(
        self,
        width: int,
        group_width: int,
        strides: int = 1,
        squeeze_ratio: float = 0.25,
        drop_path_rate: float = 0.0,
        expansion: int = 1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if width % (group_width * expansion):
            times = f" times expansion {expansion}" if expansion > 1 else ""
            raise InputError(
                f"width should be a multiple of group_width {group_width}{times}. Received: {width}"
            )
        self.width = width
        self.group_width = group_width
        self.strides = strides
        self.squeeze_ratio = squeeze_ratio
        self.drop_path_rate = drop_path_rate
        self.expansion = expansion

    def build(self, input_shape):
        channels, width, policy = input_shape[-1], self.width, self.dtype_policy
        narrow = width // self.expansion
        self.conv1 = _conv(narrow, 1, 1, policy, "conv1")
        self.norm1 = _norm(policy, "norm1")
        self.conv2 = _conv(narrow, 3, self.strides, policy, "conv2", narrow // self.group_width)
        self.norm2 = _norm(policy, "norm2")
        self.squeeze_excitation = None
        if self.squeeze_ratio:
            hidden_dim = max(round(channels * self.squeeze_ratio), 1)
            self.squeeze_excitation = SqueezeExcitation(
                hidden_dim, dtype=policy, name="squeeze_excitation"
            )
        self.conv3 = _conv(width, 1, 1, policy, "conv3")
        self.norm3 = _norm(policy, "norm3", gamma_init="zeros")
        self.drop_path = StochasticDepth(self.drop_path_rate, dtype=policy, name="drop_path")
        inside, outside = (*input_shape[:3], narrow), self.compute_output_shape(input_shape)
        reduced = (*outside[:3], narrow)
        self.conv1.build(input_shape)
        self.norm1.build(inside)
        self.conv2.build(_padded_shape(inside))
        for layer in (self.norm2, self.squeeze_excitation, self.conv3):
            if layer:
                layer.build(reduced)
        self.norm3.build(outside)
        self.shortcut = []
        if self.strides != 1 or channels != width:
            conv = _conv(width, 1, self.strides, policy, "shortcut_conv")
            norm = _norm(policy, "shortcut_norm")
            conv.build(input_shape)
            norm.build(outside)
            self.shortcut = [conv, norm]

    def call(self, grid, training=False):
        return self.checkpointed(self._forward, grid, training)

    def _forward(self, grid):
        branch, shortcut = self._parts(grid)
        return ops.relu(shortcut + self.drop_path(branch))

    def _parts(self, grid):
        branch = ops.relu(self.norm1(self.conv1(grid)))
        branch = ops.relu(self.norm2(self.conv2(_padded(branch))))
        if self.squeeze_excitation:
            branch = self.squeeze_excitation(branch)
        branch = self.norm3(self.conv3(branch))
        for layer in self.shortcut:
            grid = layer(grid)
        return branch, grid

    def residual_branches(self, grid):
        """Returns what the branch adds, and the shortcut that it is added to, by its name."""
        return {"convolution": self._parts(grid)}

    def patch_grid(self, input_shape) -> tuple[int, int]:
        """Returns rows and columns of the grid after it."""
        _, height, width, _ = input_shape
        return -(-height // self.strides), -(-width // self.strides)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.patch_grid(input_shape), self.width)

    def get_config(self):
        return {
            **super().get_config(),
            "width": self.width,
            "group_width": self.group_width,
            "strides": self.strides,
            "squeeze_ratio": self.squeeze_ratio,
            "drop_path_rate": self.drop_path_rate,
            "expansion": self.expansion,
        }
