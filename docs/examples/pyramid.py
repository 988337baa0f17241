"""A model family of one's own: a transformer whose second stage has fewer and wider tokens.

The stages are those of PiT ("Rethinking Spatial Dimensions of Vision Transformers", Heo et al.,
2021), with the mean of the tokens instead of a class token.

    keras-deit train --import pyramid.py --recipe pyramid_digits
"""

import keras
from keras import ops

import keras_deit
from keras_deit.layers import PatchEmbedding, PositionEmbedding, TransformerBlock
from keras_deit.layers.activations import SavedActivations
from keras_deit.models.arguments import check_image_size
from keras_deit.models.classifier import classification_head
from keras_deit.models.weight_names import BARE, CONVOLUTION, DENSE, DEPTHWISE, NORM


@keras.saving.register_keras_serializable(package="pyramid")
class Pooling(keras.layers.Layer):
    """Turns tokens (batch, rows·columns, width) into a quarter as many of twice the width.

    Args:
        grid: rows and columns of the tokens, even numbers.
    """

    def __init__(self, grid: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        self.grid = tuple(grid)
        self.convolution = keras.layers.DepthwiseConv2D(
            3, 2, "same", 2, "channels_last", dtype=self.dtype_policy, name="convolution"
        )

    def build(self, input_shape):
        self.convolution.build((None, *self.grid, input_shape[-1]))

    def call(self, tokens):
        _, length, width = tokens.shape
        images = self.convolution(ops.reshape(tokens, (-1, *self.grid, width)))
        return ops.reshape(images, (-1, length // 4, 2 * width))

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image: nine for each number of the output."""
        return 9 * input_shape[1] // 4 * 2 * input_shape[2]

    def saved_activations(self, input_shape, costs) -> SavedActivations:
        """Returns what is saved for the backward pass: the input."""
        return SavedActivations(input_shape[1] * input_shape[2])

    def get_config(self):
        return {**super().get_config(), "grid": self.grid}


# The names of a block's weights in a published file.
_OURS, _THEIRS = "stage{stage}_block{block}", "transformers.{stage}.blocks.{block}"
_BLOCKS = {
    f"{_OURS}/norm1": (f"{_THEIRS}.norm1", NORM),
    f"{_OURS}/attention/qkv": (f"{_THEIRS}.attn.qkv", DENSE),
    f"{_OURS}/attention/projection": (f"{_THEIRS}.attn.proj", DENSE),
    f"{_OURS}/norm2": (f"{_THEIRS}.norm2", NORM),
    f"{_OURS}/mlp/expand": (f"{_THEIRS}.mlp.fc1", DENSE),
    f"{_OURS}/mlp/contract": (f"{_THEIRS}.mlp.fc2", DENSE),
}


@keras_deit.register_family
class Pyramid(keras_deit.Classifier):
    """A transformer of two stages.

    Args:
        image_size: side in pixels, or (height, width); multiples of twice the `patch_size`.
        patch_size: side of a patch in pixels.
        embed_dim: width of the first stage; the second has twice that, and twice the heads.
        depth: number of blocks in each stage.
        num_heads: of the first stage.
        drop_path_rate: of the last block.
        num_classes: of the head.
    """

    weight_tables = {
        "authors": {
            "patch_embedding/projection": ("patch_embed.conv", CONVOLUTION),
            "position_embedding": ("pos_embed", BARE),
            **_BLOCKS,
            "pooling/convolution": ("transformers.1.pool.conv", DEPTHWISE),
            "norm": ("norm", NORM),
            "class_head": ("head", DENSE),
        }
    }

    def __init__(
        self, image_size=224, patch_size=16, embed_dim=192, depth=3, num_heads=3,
        drop_path_rate=0.0, num_classes=1000, **kwargs
    ):  # fmt: skip
        height, width = check_image_size(image_size, 2 * patch_size)
        inputs = keras.Input((height, width, 3), name="image")
        embedding = PatchEmbedding(patch_size, embed_dim, name="patch_embedding")
        x, grid = embedding(inputs), embedding.patch_grid(inputs.shape)
        x = PositionEmbedding(grid, name="position_embedding")(x)
        for index in range(2 * depth):
            stage, number = divmod(index, depth)
            if index == depth:
                x = Pooling(grid, name="pooling")(x)
            drop_path = drop_path_rate * index / (2 * depth - 1)
            name = f"stage{stage}_block{number}"
            x = TransformerBlock(num_heads * 2**stage, drop_path_rate=drop_path, name=name)(x)
        x = keras.layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
        x = keras.layers.GlobalAveragePooling1D("channels_last", name="mean")(x)
        super().__init__(
            inputs, {"class": classification_head(num_classes, "class_head")(x)}, **kwargs
        )


keras_deit.register_model("pyramid_tiny", Pyramid, image_size=224, embed_dim=192)
keras_deit.register_recipe(
    "pyramid_digits",
    base="digits",
    model="pyramid_tiny",
    distillation="none",
    embed_dim=48,
    depth=2,
)
