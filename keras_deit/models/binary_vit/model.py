"""BinaryViT, whose matrix products are of binary numbers.

"BinaryViT: Pushing Binary Vision Transformers Towards Convolutional Models" (Le and Li, 2023);
github.com/Phuoc-Hoan-Le/BinaryViT.
"""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.layers import (
    BinaryBlock,
    BinaryMerging,
    PatchEmbedding,
    PositionEmbedding,
    PrependToken,
)
from keras_deit.layers.binary import NORMS, token_norm
from keras_deit.models.arguments import (
    check_classes,
    check_image_size,
    check_positive,
    check_rate,
)
from keras_deit.models.binary_vit import weights
from keras_deit.models.classifier import Classifier, classification_head
from keras_deit.models.registry import register_family


class _Stage(NamedTuple):
    width: int
    depth: int
    num_heads: int
    mlp_ratio: int
    reduction: int


@register_family
class BinaryViT(Classifier):
    """A vision transformer whose weights, activations and attention probabilities are binary.

    The blocks and the layers between the stages multiply signs, see `BinaryBlock` and
    `BinaryMerging`. The projection of the patches, norms, positions, the residual stream and the
    head are real numbers. Dense layers and convolutions start as PyTorch's do: the normal
    distribution that the authors intended reaches no layer of their code. Positions are N(0, 0.02²).

    With one stage, a class token, no pooling and no affine transformation it is the binary DeiT
    that the paper starts from.

    Args:
        image_size: side in pixels, or (height, width); multiples of `patch_size` and what the
            stages and reductions divide the grid by.
        patch_size: side of a patch in pixels.
        embed_dim: width of the tokens of each stage.
        depth: number of blocks of each stage.
        num_heads: number of heads of each stage.
        mlp_ratio: hidden width of the MLPs divided by that of the tokens, a whole number, of each
            stage.
        reduction: side of the squares of tokens that share a key and a value, of each stage. One
            number stands for all stages here and in the arguments above.
        binary_merging: whether the convolutions between stages are binary; in BinaryViT* they are
            not.
        patch_norm: whether a norm follows the projection of the patches.
        pooling_sizes: lengths of the averages in each block, along the rows and along the columns;
            odd numbers, () for none.
        affine: whether the two main branches of each block end with an affine transformation.
        class_token: whether the head takes a class token instead of the mean of the tokens; with
            one stage, without reduction and pooling.
        norm: "batch" for batch normalization of the tokens, "layer" for layer normalization.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0 in the first.
        num_classes: number of classes; 0 for no head: the output is then what it would take.
        dropout_rate: rate of the dropout after the positions and at the end of both main branches.
        attention_dropout_rate: rate of the dropout of attention probabilities.
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
        patch_size: int = 4,
        embed_dim: int | Sequence[int] = (64, 128, 256, 512),
        depth: int | Sequence[int] = (3, 4, 8, 4),
        num_heads: int | Sequence[int] = (1, 2, 4, 8),
        mlp_ratio: int | Sequence[int] = (8, 8, 4, 4),
        reduction: int | Sequence[int] = (8, 4, 1, 1),
        binary_merging: bool = True,
        patch_norm: bool = True,
        pooling_sizes: Sequence[int] = (3, 5),
        affine: bool = True,
        class_token: bool = False,
        norm: str = "batch",
        drop_path_rate: float = 0.0,
        num_classes: int = 1000,
        dropout_rate: float = 0.0,
        attention_dropout_rate: float = 0.0,
        in_channels: int = 3,
        **kwargs,
    ):
        stages = _stages(
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            reduction=reduction,
        )
        check_positive(in_channels=in_channels)
        check_classes(num_classes)
        check_rate(
            drop_path_rate=drop_path_rate,
            dropout_rate=dropout_rate,
            attention_dropout_rate=attention_dropout_rate,
        )
        _check_poolings(pooling_sizes)
        if norm not in NORMS:
            raise unknown_name("norm", norm, NORMS)
        if class_token and (len(stages) > 1 or stages[0].reduction > 1 or pooling_sizes):
            raise InputError(
                "A class token has no place in a grid: it needs one stage, reduction 1 and "
                f"pooling_sizes (). Received: {len(stages)} stages, {reduction=}, {pooling_sizes=}"
            )
        sides = _image_sides(image_size, patch_size, stages)
        inputs = keras.Input((*sides, in_channels), name="image")
        embedding = PatchEmbedding(patch_size, stages[0].width, name="patch_embedding")
        x, grid = embedding(inputs), embedding.patch_grid(inputs.shape)
        if patch_norm:
            x = token_norm(norm, None, "patch_norm")(x)
        if class_token:
            x = PrependToken(initializer="tiny_normal", name="class_token")(x)
        x = PositionEmbedding(grid, name="position_embedding")(x)
        if dropout_rate > 0:
            x = keras.layers.Dropout(dropout_rate, name="dropout")(x)
        rates = np.linspace(0, drop_path_rate, sum(stage.depth for stage in stages))
        index = 0
        for number, stage in enumerate(stages):
            if number:
                merging = BinaryMerging(
                    stage.width, grid, binary_merging, norm, name=f"merging_{number - 1}"
                )
                x, grid = merging(x), merging.patch_grid()
                x = PositionEmbedding(grid, name=f"position_embedding_{number - 1}")(x)
            for _ in range(stage.depth):
                x = BinaryBlock(
                    stage.num_heads,
                    stage.mlp_ratio,
                    None if class_token else grid,
                    stage.reduction,
                    pooling_sizes,
                    affine,
                    norm,
                    float(rates[index]),
                    dropout_rate,
                    attention_dropout_rate,
                    name=f"block_{index}",
                )(x)
                index += 1
        x = token_norm(norm, None, "norm")(x)
        if class_token:
            x = x[:, 0]
        else:
            x = keras.layers.GlobalAveragePooling1D("channels_last", name="mean")(x)
        head = classification_head(num_classes, "class_head", "torch", x.shape[-1])
        super().__init__(inputs, {"class": head(x)}, **kwargs)


def _stages(**values) -> list[_Stage]:
    """Returns the sizes of each stage.

    Raises:
        InputError: a size is not above 0, or they are not as many numbers as each other.
    """
    lengths = {len(value) for value in values.values() if isinstance(value, (tuple, list))}
    if len(lengths) > 1 or 0 in lengths:
        shown = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise InputError(f"Each of these should have a number for each stage, or be one: {shown}")
    count = lengths.pop() if lengths else 1
    by_stage = {
        name: value if isinstance(value, (tuple, list)) else (value,) * count
        for name, value in values.items()
    }
    for name, numbers in by_stage.items():
        for number in numbers:
            check_positive(**{name: number})
    return [_Stage(*sizes) for sizes in zip(*by_stage.values(), strict=True)]


def _check_poolings(sizes) -> None:
    for size in sizes:
        check_positive(pooling_sizes=size)
        if size % 2 == 0:
            raise InputError(f"pooling_sizes should be odd numbers. Received: {tuple(sizes)}")


def _image_sides(image_size, patch_size: int, stages: list[_Stage]) -> tuple[int, int]:
    """Returns height and width of the images, which the patches, stages and reductions divide."""
    check_positive(patch_size=patch_size)
    squares = [2**number * stage.reduction for number, stage in enumerate(stages)]
    whole = patch_size * int(np.lcm.reduce(squares))
    return check_image_size(
        image_size, whole, "the pixels of patches, stages and reductions together,"
    )
