"""The convolutional block of PatchConvNet."""

import math

import keras
from keras import ops

from keras_deit.layers.activations import ActivationCosts, SavedActivations
from keras_deit.layers.block import Block
from keras_deit.layers.dense import Dense
from keras_deit.layers.gelu import gelu
from keras_deit.layers.initializers import conv_bias, conv_kernel, depthwise_kernel
from keras_deit.layers.introspection import MODEL_AXIS, column_parallel, layer_macs, row_parallel
from keras_deit.layers.residual import LayerScale, StochasticDepth, apply_branch
from keras_deit.layers.settings import CompositeLayer


@keras.saving.register_keras_serializable(package="keras_deit")
class SqueezeExcitation(CompositeLayer):
    """Multiplies each channel by a gate in (0, 1) that is computed from the mean over the grid.

    "Squeeze-and-Excitation Networks" (Hu et al., 2018): mean, Dense, ReLU, Dense, sigmoid.

    Args:
        hidden_dim: width between the two dense layers.

    Input and output: a grid (batch, height, width, channels).
    """

    def __init__(self, hidden_dim: int, **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim

    def build(self, input_shape):
        channels = input_shape[-1]
        self.reduce = _pointwise_convolution(
            channels, self.hidden_dim, self.dtype_policy, "reduce", "relu"
        )
        self.expand = _pointwise_convolution(
            self.hidden_dim, channels, self.dtype_policy, "expand", "sigmoid"
        )
        self.reduce.build((None, channels))
        self.expand.build((None, self.hidden_dim))

    def call(self, grid):
        gates = self.expand(self.reduce(ops.mean(grid, axis=(1, 2))))
        return grid * gates[:, None, None]

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image."""
        batch, _, _, channels = input_shape
        reduced = layer_macs(self.reduce, (batch, channels))
        return reduced + layer_macs(self.expand, (batch, self.hidden_dim))

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the gated grid."""
        return SavedActivations(math.prod(input_shape[1:]))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "hidden_dim": self.hidden_dim}


@keras.saving.register_keras_serializable(package="keras_deit")
class ConvBlock(Block):
    """x + D(γ⊙F(LN(x))), where D is stochastic depth.

    F is a 1×1 convolution, a 3×3 depthwise one, squeeze-and-excitation, and a 1×1 convolution,
    all of one width, with exact GELU after the first two.

    Args:
        squeeze_ratio: hidden width of the squeeze-and-excitation divided by the width of the grid.
        drop_path_rate: rate of the stochastic depth.
        layer_scale_init: initial γ; None omits γ.

    Input and output: a grid (batch, height, width, channels).
    """

    supports_activation_checkpointing = True

    def __init__(
        self,
        squeeze_ratio: float = 0.25,
        drop_path_rate: float = 0.0,
        layer_scale_init: float | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.squeeze_ratio = squeeze_ratio
        self.drop_path_rate = drop_path_rate
        self.layer_scale_init = layer_scale_init

    def build(self, input_shape):
        width, policy = input_shape[-1], self.dtype_policy
        depthwise = keras.layers.DepthwiseConv2D(
            kernel_size=3,
            padding="same",
            data_format="channels_last",
            activation=gelu,
            depthwise_initializer=depthwise_kernel(3),
            bias_initializer=conv_bias(fan_in=9),
            dtype=policy,
            name="depthwise",
        )
        hidden_dim = max(round(width * self.squeeze_ratio), 1)
        self.branch = [
            keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name="norm"),
            _pointwise_convolution(width, width, policy, "expand", gelu),
            depthwise,
            SqueezeExcitation(hidden_dim, dtype=policy, name="squeeze_excitation"),
            _pointwise_convolution(width, width, policy, "contract"),
        ]
        if self.layer_scale_init is not None:
            scale = LayerScale(self.layer_scale_init, dtype=policy, name="layer_scale")
            self.branch.append(scale)
        self.drop_path = StochasticDepth(self.drop_path_rate, dtype=policy, name="drop_path")
        for layer in self.branch:
            layer.build(input_shape)

    def call(self, grid, training=False):
        return self.checkpointed(self._forward, grid, training)

    def _forward(self, grid):
        return grid + self.drop_path(apply_branch(self.branch, grid))

    def residual_branches(self, grid):
        """Returns what the branch adds, and the grid that it is added to, by its name."""
        return {"convolution": (apply_branch(self.branch, grid), grid)}

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what is saved of one image: the norm, both GELUs, the gated grid and the input
        of LayerScale."""
        size = math.prod(input_shape[1:])
        scaled = self.layer_scale_init is not None
        gelus = costs.gelu(size) + costs.gelu(size)
        return costs.norm(size) + gelus + SavedActivations((1 + scaled) * size)

    def model_parallel_axes(self):
        _, expand, depthwise, _, contract, *_ = self.branch
        by_channel = [
            (depthwise.kernel, (None, None, MODEL_AXIS, None)),
            (depthwise.bias, (MODEL_AXIS,)),
        ]
        return column_parallel(expand) + by_channel + row_parallel(contract)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "squeeze_ratio": self.squeeze_ratio,
            "drop_path_rate": self.drop_path_rate,
            "layer_scale_init": self.layer_scale_init,
        }


def _pointwise_convolution(
    in_channels: int, out_channels: int, dtype, name: str, activation=None
) -> keras.layers.Dense:
    """Returns a 1×1 convolution: a dense layer with a convolution's initial values."""
    return Dense(
        out_channels,
        activation=activation,
        kernel_initializer=conv_kernel(),
        bias_initializer=conv_bias(in_channels),
        dtype=dtype,
        name=name,
    )
