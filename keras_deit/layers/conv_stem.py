"""Images to a grid of patches, through convolutions."""

import keras
from keras import ops

from keras_deit.errors import InputError
from keras_deit.layers.initializers import conv_kernel
from keras_deit.layers.macs import layer_macs


@keras.saving.register_keras_serializable(package="keras_deit")
class ConvStem(keras.layers.Layer):
    """Four 3×3 convolutions of stride 2, exact GELU between them (PatchConvNet).

    They make `embed_dim`/8, /4, /2 and `embed_dim` channels, without bias. The padding is one
    pixel on every side, as in the published models; Keras's "same" would pad two sides only.

    Args:
        embed_dim: width of a patch, a multiple of 8.

    Input: images (batch, height, width, channels).
    Output: a grid (batch, ⌈height/16⌉, ⌈width/16⌉, embed_dim).

    Raises:
        InputError: an `embed_dim` that cannot be halved three times.
    """

    def __init__(self, embed_dim: int, **kwargs):
        super().__init__(**kwargs)
        if embed_dim % 8:
            raise InputError(f"embed_dim {embed_dim} is not a multiple of 8.")
        self.embed_dim = embed_dim

    def build(self, input_shape):
        self.convolutions = []
        shape = input_shape
        for number, divisor in enumerate((8, 4, 2, 1), start=1):
            convolution = keras.layers.Conv2D(
                self.embed_dim // divisor,
                kernel_size=3,
                strides=2,
                use_bias=False,
                kernel_initializer=conv_kernel(),
                dtype=self.dtype_policy,
                name=f"conv{number}",
            )
            convolution.build(_padded_shape(shape))
            shape = convolution.compute_output_shape(_padded_shape(shape))
            self.convolutions.append(convolution)

    def call(self, images):
        *first, last = self.convolutions
        grid = images
        for convolution in first:
            grid = keras.activations.gelu(convolution(_padded(grid)))
        return last(_padded(grid))

    def macs(self, input_shape) -> int:
        """Multiply-adds for one sample."""
        total, shape = 0, input_shape
        for convolution in self.convolutions:
            total += layer_macs(convolution, _padded_shape(shape))
            shape = convolution.compute_output_shape(_padded_shape(shape))
        return total

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, -(-height // 16), -(-width // 16), self.embed_dim)

    def get_config(self):
        return {**super().get_config(), "embed_dim": self.embed_dim}


def _padded(grid):
    return ops.pad(grid, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _padded_shape(shape):
    batch, height, width, channels = shape
    return (batch, height + 2, width + 2, channels)
