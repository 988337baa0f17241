"""CViT: a transformer on the patches of a convolutional network, for detecting deepfakes.

"Deepfake Video Detection Using Convolutional Vision Transformer" (Wodajo and Atnafu, 2021);
github.com/erprogs/CViT, model/cvit.py.
"""

import math
from collections.abc import Sequence

import keras

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.layers import (
    BatchPositions,
    DensePatchEmbedding,
    PositionEmbedding,
    PrependToken,
    TransformerBlock,
)
from keras_deit.layers.dense import Dense
from keras_deit.layers.initializers import dense_initializers
from keras_deit.models.arguments import (
    check_classes,
    check_image_size,
    check_positive,
    check_rate,
    check_ratio,
)
from keras_deit.models.classifier import Classifier, classification_head
from keras_deit.models.cvit import weights
from keras_deit.models.registry import register_family
from keras_deit.models.weight_names import COPY, FirstRows

_POSITIONS = ("token", "image", "batch")
# Rows of the positions in the authors' first code, the size of their batches.
_BATCH_ROWS = 32
_NORM_EPSILON = 1e-5


@register_family
class CViT(Classifier):
    """The convolutional vision transformer of Wodajo and Atnafu.

    Groups of 3×3 convolutions, each with batch normalization and ReLU, halve the image one after
    the other. Patches of the last map, one alone in the published model, and a class token go
    through a transformer that has no norm at its end. QKᵀ is divided by the square root of the
    whole width of the tokens, and the class token goes through a hidden layer to the logits.

    Initial values are PyTorch's defaults, and N(0, 1) for the class token and the positions.

    Args:
        image_size: side in pixels, or (height, width); multiples of `patch_size` cells of the last
            map, each of which is 32 pixels with five groups.
        patch_size: side of a patch in cells of the last map.
        embed_dim: width of the tokens, a multiple of `num_heads`.
        depth: number of blocks.
        num_heads: number of heads of each self-attention.
        mlp_ratio: hidden width of the MLPs and of the head divided by `embed_dim`.
        stem_depths: number of convolutions in each group.
        stem_channels: channels of the convolutions in each group.
        positions: "token" for a row of positions for each token; "image" for the table of the
            authors' code, which has a row for each patch of `patch_size` pixels of the image and
            one more, of which the first are used and the others are not trained; weights of it
            are loaded into "token", too; or "batch" for
            that of their first code: 32 rows, of which all tokens of an image get the one of its
            place in the batch, so that the logits depend on it and a batch has at most 32 images.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0 at the first.
            The authors have none.
        num_classes: number of classes; 0 for no head: the output is then what it would take.
        in_channels: number of channels of the images; 1 for gray images.

    Input: images (batch, height, width, in_channels), normalized as `image_format` says.
    Output: logits (batch, num_classes), float32.

    Raises:
        InputError: a value is impossible, or sizes do not fit together.
    """

    weight_tables = weights.TABLES

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch_size: int = 7,
        embed_dim: int = 1024,
        depth: int = 6,
        num_heads: int = 8,
        mlp_ratio: float = 2.0,
        stem_depths: Sequence[int] = weights.STEM_DEPTHS,
        stem_channels: Sequence[int] = (32, 64, 128, 256, 512),
        positions: str = "token",
        drop_path_rate: float = 0.0,
        num_classes: int = 2,
        in_channels: int = 3,
        **kwargs,
    ):
        check_positive(
            patch_size=patch_size,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            in_channels=in_channels,
        )
        check_classes(num_classes)
        check_ratio(mlp_ratio=mlp_ratio)
        check_rate(drop_path_rate=drop_path_rate)
        if positions not in _POSITIONS:
            raise unknown_name("positions", positions, _POSITIONS)
        groups = _groups(stem_depths, stem_channels)
        stride = patch_size * 2 ** len(groups)
        sides = check_image_size(image_size, stride, "the pixels per patch behind the stem,")
        inputs = keras.Input((*sides, in_channels), name="image")
        x = inputs
        for group, (count, channels) in enumerate(groups):
            x = _convolutions(x, count, channels, f"stem_{group}")
        embedding = DensePatchEmbedding(
            patch_size, embed_dim, kernel_init="torch", name="patch_embedding"
        )
        grid = embedding.patch_grid(x.shape)
        x = embedding(x)
        x = PrependToken(initializer="unit_normal", name="class_token")(x)
        x = _positions(positions, grid, sides, patch_size)(x)
        for index in range(depth):
            x = TransformerBlock(
                num_heads,
                mlp_ratio,
                qkv_bias=False,
                drop_path_rate=drop_path_rate * index / max(depth - 1, 1),
                norm_epsilon=_NORM_EPSILON,
                kernel_init="torch",
                attention_scale=embed_dim**-0.5,
                name=f"block_{index}",
            )(x)
        hidden = int(embed_dim * mlp_ratio)
        initial = dense_initializers("torch", embed_dim)
        x = Dense(hidden, activation="relu", **initial, name="head_hidden")(x[:, 0])
        head = classification_head(num_classes, "class_head", "torch", hidden)
        super().__init__(inputs, {"class": head(x)}, **kwargs)

    def weight_names(self):
        config = self.get_config()
        positions = COPY
        if config["positions"] == "token":
            rows = _image_rows(self.input_shape[1:3], config["patch_size"])
            positions = FirstRows(held=rows, used=math.prod(self.patch_grid()) + 1)
        return weights.tables(config["stem_depths"], positions)

    def explain_misfit(self, held, wanted):
        return weights.explain_misfit(held, wanted)


def _groups(depths: Sequence[int], channels: Sequence[int]) -> list[tuple[int, int]]:
    """Returns the number of convolutions and the channels of each group."""
    if not depths or len(depths) != len(channels):
        raise InputError(
            "stem_depths and stem_channels should have a number for each group. "
            f"Received: {tuple(depths)} and {tuple(channels)}"
        )
    for count, width in zip(depths, channels, strict=True):
        check_positive(stem_depths=count, stem_channels=width)
    return list(zip(depths, channels, strict=True))


def _convolutions(x, count: int, channels: int, name: str):
    """Returns what a group makes of a grid: half as many rows and columns."""
    for index in range(count):
        x = keras.layers.Conv2D(
            channels,
            kernel_size=3,
            padding="same",
            **dense_initializers("torch", 9 * x.shape[-1]),
            data_format="channels_last",
            name=f"{name}_conv_{index}",
        )(x)
        x = keras.layers.BatchNormalization(
            momentum=0.9, epsilon=_NORM_EPSILON, name=f"{name}_norm_{index}"
        )(x)
        x = keras.layers.ReLU(name=f"{name}_relu_{index}")(x)
    return keras.layers.MaxPooling2D(2, data_format="channels_last", name=f"{name}_pool")(x)


def _positions(positions: str, grid, sides, patch_size: int) -> keras.layers.Layer:
    name = "position_embedding"
    if positions == "batch":
        return BatchPositions(_BATCH_ROWS, "unit_normal", name=name)
    rows = _image_rows(sides, patch_size) if positions == "image" else None
    return PositionEmbedding(grid, "unit_normal", rows, name=name)


def _image_rows(sides: Sequence[int], patch_size: int) -> int:
    """Returns the rows of positions in the authors' code."""
    return math.prod(side // patch_size for side in sides) + 1
