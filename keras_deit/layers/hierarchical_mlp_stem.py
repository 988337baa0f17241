"""The hMLP stem."""

import keras
from keras import ops

from keras_deit.errors import InputError
from keras_deit.layers.initializers import conv_bias, conv_kernel
from keras_deit.layers.macs import layer_macs

# Of each convolution, its kernel being as large as its stride: together 16.
_STRIDES = (4, 2, 2)


@keras.saving.register_keras_serializable(package="keras_deit")
class HierarchicalMLPStem(keras.layers.Layer):
    """Patch tokens of 16×16 pixels in three steps: 4×4 pixels to a vector, then 2×2 vectors to
    one, twice ("Three things everyone should know about Vision Transformers" §5).

    Each step is a convolution without overlap and a batch normalisation, with an exact GELU after
    the first two. So no patch sees another one, but for the batch's statistics in training; these
    are of the batch that a replica has.

    Args:
        embed_dim: width of a token, a multiple of 4; the first two steps have a quarter of it.

    Input: images (batch, height, width, channels). Pixels right of or below the last whole patch
    are left out.
    Output: tokens (batch, height//16 · width//16, embed_dim), row by row.

    Raises:
        InputError: a width that is no multiple of 4.
    """

    def __init__(self, embed_dim: int, **kwargs):
        super().__init__(**kwargs)
        if embed_dim % 4:
            raise InputError(
                f"embed_dim should be a multiple of 4 for the hMLP stem. Received: {embed_dim}"
            )
        self.embed_dim = embed_dim

    def build(self, input_shape):
        shape = input_shape
        widths = (self.embed_dim // 4, self.embed_dim // 4, self.embed_dim)
        self.convs, self.norms = [], []
        for number, (stride, width) in enumerate(zip(_STRIDES, widths, strict=True), start=1):
            conv = keras.layers.Conv2D(
                width,
                kernel_size=stride,
                strides=stride,
                kernel_initializer=conv_kernel(),
                bias_initializer=conv_bias(stride**2 * shape[-1]),
                dtype=self.dtype_policy,
                name=f"conv{number}",
            )
            # PyTorch's defaults, which the authors keep; its momentum of 0.1 is 0.9 in Keras.
            norm = keras.layers.BatchNormalization(
                epsilon=1e-5, momentum=0.9, dtype=self.dtype_policy, name=f"norm{number}"
            )
            conv.build(shape)
            shape = conv.compute_output_shape(shape)
            norm.build(shape)
            self.convs.append(conv)
            self.norms.append(norm)

    def call(self, images, training=False):
        grid = images
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if index > 0:
                grid = keras.activations.gelu(grid)
            grid = norm(conv(grid), training=training)
        return ops.reshape(grid, (-1, grid.shape[1] * grid.shape[2], self.embed_dim))

    def macs(self, input_shape) -> int:
        """Multiply-adds for one sample."""
        total = 0
        for conv in self.convs:
            total += layer_macs(conv, input_shape)
            input_shape = conv.compute_output_shape(input_shape)
        return total

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, (height // 16) * (width // 16), self.embed_dim)

    def get_config(self):
        return {**super().get_config(), "embed_dim": self.embed_dim}
