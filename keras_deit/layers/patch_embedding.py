"""Images to patch tokens."""

import keras
from keras import ops

from keras_deit.layers.initializers import conv_bias, conv_kernel
from keras_deit.layers.macs import layer_macs


@keras.saving.register_keras_serializable(package="keras_deit")
class PatchEmbedding(keras.layers.Layer):
    """Cuts an image into square patches and projects each to a token (ViT §3.1).

    Patches follow each other row by row. Pixels right of or below the last whole patch are left
    out, as a convolution without padding leaves them.

    Args:
        patch_size: side of a patch, in pixels.
        embed_dim: width of a token.

    Input: images (batch, height, width, channels).
    Output: tokens (batch, height//patch_size · width//patch_size, embed_dim).
    """

    def __init__(self, patch_size: int, embed_dim: int, **kwargs):
        super().__init__(**kwargs)
        self.patch_size = patch_size
        self.embed_dim = embed_dim

    def build(self, input_shape):
        fan_in = self.patch_size**2 * input_shape[-1]
        self.projection = keras.layers.Conv2D(
            self.embed_dim,
            kernel_size=self.patch_size,
            strides=self.patch_size,
            kernel_initializer=conv_kernel(),
            bias_initializer=conv_bias(fan_in),
            dtype=self.dtype_policy,
            name="projection",
        )
        self.projection.build(input_shape)

    def call(self, images):
        grid = self.projection(images)
        return ops.reshape(grid, (-1, grid.shape[1] * grid.shape[2], self.embed_dim))

    def macs(self, input_shape) -> int:
        """Multiply-adds for one sample."""
        return layer_macs(self.projection, input_shape)

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        patches = (height // self.patch_size) * (width // self.patch_size)
        return (batch, patches, self.embed_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "patch_size": self.patch_size,
            "embed_dim": self.embed_dim,
        }
