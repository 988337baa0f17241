"""A small model of one's own with the layers for small data sets: SPT and LSA.

"Vision Transformer for Small-Size Datasets" (Lee, Lee and Song, 2021).

    keras-deit train --import local.py --recipe local_digits
"""

import keras

import keras_deit
from keras_deit import layers
from keras_deit.models.arguments import check_image_size
from keras_deit.models.classifier import classification_head


@keras_deit.register_family
class Local(keras_deit.Classifier):
    """Patches that see beyond their border, and attention in which no token attends to itself.

    Args:
        image_size: side in pixels, or (height, width); multiples of twice the `patch_size`.
        patch_size: side of a patch in pixels, 2 or more.
        embed_dim: width of the tokens of the blocks; after them there are a quarter as many of
            twice the width.
        depth: number of blocks.
        num_heads: of each attention.
        drop_path_rate: of each block.
        num_classes: of the head.
    """

    def __init__(
        self, image_size=32, patch_size=4, embed_dim=96, depth=4, num_heads=4,
        drop_path_rate=0.0, num_classes=10, **kwargs
    ):  # fmt: skip
        height, width = check_image_size(image_size, 2 * patch_size)
        inputs = keras.Input((height, width, 3), name="image")
        embedding = layers.ShiftedPatchTokenization(patch_size, embed_dim, name="patch_embedding")
        x, grid = embedding(inputs), embedding.patch_grid(inputs.shape)
        x = layers.PositionEmbedding(grid, name="position_embedding")(x)
        for index in range(depth):
            x = layers.TransformerBlock(
                num_heads, 2, drop_path_rate=drop_path_rate, lsa=True, name=f"block_{index}"
            )(x)
        # Both layers work on their own, too.
        x = layers.ShiftedPatchPooling(2 * embed_dim, grid, name="pooling")(x)
        x = x + layers.LocalitySelfAttention(num_heads, name="attention")(x)
        x = keras.layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
        x = keras.layers.GlobalAveragePooling1D("channels_last", name="mean")(x)
        super().__init__(
            inputs, {"class": classification_head(num_classes, "class_head")(x)}, **kwargs
        )


keras_deit.register_model("local_tiny", Local)
keras_deit.register_recipe("local_digits", base="digits", model="local_tiny", distillation="none")
