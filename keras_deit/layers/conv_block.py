"""The convolutional block of PatchConvNet."""

import keras

from keras_deit.layers.initializers import conv_bias, depthwise_kernel
from keras_deit.layers.layer_scale import LayerScale
from keras_deit.layers.macs import layer_macs
from keras_deit.layers.rematerialisation import Rematerialised
from keras_deit.layers.squeeze_excitation import SqueezeExcitation, pointwise_convolution
from keras_deit.layers.stochastic_depth import StochasticDepth


@keras.saving.register_keras_serializable(package="keras_deit")
class ConvBlock(Rematerialised):
    """x + D(γ⊙F(LN(x))): D drops the branch per sample.

    F is a 1×1 convolution, a 3×3 depthwise one, squeeze-and-excitation, and a 1×1 convolution,
    all of one width, with exact GELU after the first two.

    Args:
        squeeze_ratio: hidden width of the squeeze-and-excitation over the width of the grid.
        drop_path_rate: of the stochastic depth.
        layer_scale_init: initial γ; None leaves γ out.

    Input and output: a grid (batch, height, width, channels).
    """

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
        gelu = keras.activations.gelu
        depthwise = keras.layers.DepthwiseConv2D(
            kernel_size=3,
            padding="same",
            activation=gelu,
            depthwise_initializer=depthwise_kernel(3),
            bias_initializer=conv_bias(fan_in=9),
            dtype=policy,
            name="depthwise",
        )
        hidden_dim = max(round(width * self.squeeze_ratio), 1)
        self.branch = [
            keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name="norm"),
            pointwise_convolution(width, width, policy, "expand", gelu),
            depthwise,
            SqueezeExcitation(hidden_dim, dtype=policy, name="squeeze_excitation"),
            pointwise_convolution(width, width, policy, "contract"),
        ]
        if self.layer_scale_init is not None:
            scale = LayerScale(self.layer_scale_init, dtype=policy, name="layer_scale")
            self.branch.append(scale)
        self.drop_path = StochasticDepth(self.drop_path_rate, dtype=policy, name="drop_path")
        for layer in self.branch:
            layer.build(input_shape)

    def call(self, grid, training=False):
        factor = self.drop_path.draw(grid, training)
        return self.through(lambda x: self._forward(x, factor), grid, training)

    def _forward(self, grid, factor):
        residual = grid
        for layer in self.branch:
            residual = layer(residual)
        return grid + (residual if factor is None else residual * factor)

    def macs(self, input_shape) -> int:
        """Multiply-adds for one sample."""
        return sum(layer_macs(layer, input_shape) for layer in self.branch)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "squeeze_ratio": self.squeeze_ratio,
            "drop_path_rate": self.drop_path_rate,
            "layer_scale_init": self.layer_scale_init,
        }
