"""Squeeze-and-excitation."""

import keras
from keras import ops

from keras_deit.layers.initializers import conv_bias, conv_kernel
from keras_deit.layers.macs import layer_macs


@keras.saving.register_keras_serializable(package="keras_deit")
class SqueezeExcitation(keras.layers.Layer):
    """Multiplies each channel by a gate in (0, 1) that the mean over the grid decides.

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
        self.reduce = pointwise_convolution(
            channels, self.hidden_dim, self.dtype_policy, "reduce", "relu"
        )
        self.expand = pointwise_convolution(
            self.hidden_dim, channels, self.dtype_policy, "expand", "sigmoid"
        )
        self.reduce.build((None, channels))
        self.expand.build((None, self.hidden_dim))

    def call(self, grid):
        gates = self.expand(self.reduce(ops.mean(grid, axis=(1, 2))))
        return grid * gates[:, None, None]

    def macs(self, input_shape) -> int:
        """Multiply-adds for one sample."""
        batch, _, _, channels = input_shape
        reduced = layer_macs(self.reduce, (batch, channels))
        return reduced + layer_macs(self.expand, (batch, self.hidden_dim))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "hidden_dim": self.hidden_dim}


def pointwise_convolution(
    in_channels: int, out_channels: int, dtype, name: str, activation=None
) -> keras.layers.Dense:
    """A 1×1 convolution: a dense layer with a convolution's initial values."""
    return keras.layers.Dense(
        out_channels,
        activation=activation,
        kernel_initializer=conv_kernel(),
        bias_initializer=conv_bias(in_channels),
        dtype=dtype,
        name=name,
    )
