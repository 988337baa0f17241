"""PiT for small data sets, with SPT and LSA: SL-PiT.

"Rethinking Spatial Dimensions of Vision Transformers" (Heo et al., 2021) and "Vision Transformer
for Small-Size Datasets" (Lee, Lee and Song, 2021); github.com/aanna0701/SPT_LSA_ViT, models/pit.py.
"""

from collections.abc import Sequence

import keras

from keras_deit.core.errors import InputError
from keras_deit.layers import (
    ConvPooling,
    PatchEmbedding,
    PositionEmbedding,
    PrependToken,
    ShiftedPatchPooling,
    ShiftedPatchTokenization,
    TransformerBlock,
)
from keras_deit.models.arguments import (
    check_classes,
    check_image_size,
    check_positive,
    check_rate,
    check_ratio,
)
from keras_deit.models.classifier import Classifier, classification_head
from keras_deit.models.registry import register_family
from keras_deit.models.small_data import weights


@register_family
class SmallDataPiT(Classifier):
    """The PiT that its authors train from scratch on images of 32 and 64 pixels.

    Between its stages a quarter of the tokens goes on, each of twice the width, with heads of the
    same width. The class token is there from the start. Queries, keys and values have no bias.
    Tokens and positions start from N(0, 1), dense layers and convolutions from Xavier's normal
    distribution.

    Args:
        image_size: side in pixels, or (height, width); multiples of `patch_size`, and with `spt`
            of `patch_size` times 2 for each pooling. Without it, a pooling rounds odd numbers of
            patches up.
        patch_size: side of a patch in pixels; 2 or more with `spt`.
        embed_dim: width of the tokens in the first stage.
        depth: number of blocks of each stage.
        num_heads: number of heads of each self-attention, by stage; or one number for all.
        head_dim: width of a head. One head as wide as the tokens has no projection behind it.
        mlp_ratio: hidden width of the MLPs divided by that of the tokens.
        drop_path_rate: stochastic depth of every block.
        spt: whether shifted patch tokenization embeds the patches and pools them (§3.1).
        lsa: whether the self-attention is locality self-attention (§3.2).
        num_classes: number of classes; 0 for no head: the output is then what it would take.
        dropout_rate: rate of the dropout after the positions, each attention and both layers of
            each MLP.
        in_channels: number of channels of the images; 1 for gray images.

    Input: images (batch, height, width, in_channels), normalized as `image_format` says.
    Output: logits (batch, num_classes), float32.
    """

    weight_tables = weights.PIT_TABLES

    def __init__(
        self,
        image_size: int | tuple[int, int] = 32,
        patch_size: int = 2,
        embed_dim: int = 96,
        depth: Sequence[int] = (2, 6, 4),
        num_heads: int | Sequence[int] = (2, 4, 8),
        head_dim: int = 48,
        mlp_ratio: float = 2.0,
        drop_path_rate: float = 0.0,
        spt: bool = False,
        lsa: bool = False,
        num_classes: int = 10,
        dropout_rate: float = 0.0,
        in_channels: int = 3,
        **kwargs,
    ):
        heads = _by_stage(depth, num_heads)
        check_positive(embed_dim=embed_dim, head_dim=head_dim, in_channels=in_channels)
        check_classes(num_classes)
        check_ratio(mlp_ratio=mlp_ratio)
        check_rate(drop_path_rate=drop_path_rate, dropout_rate=dropout_rate)
        height, width = check_image_size(image_size, patch_size)
        if spt:
            _check_halves(image_size, patch_size, len(heads) - 1)
        inputs = keras.Input((height, width, in_channels), name="image")
        embedding = (ShiftedPatchTokenization if spt else PatchEmbedding)(
            patch_size, embed_dim, kernel_init="xavier_normal", name="patch_embedding"
        )
        x, grid = embedding(inputs), embedding.patch_grid(inputs.shape)
        x = PrependToken(initializer="unit_normal", name="class_token")(x)
        x = PositionEmbedding(grid, "unit_normal", name="position_embedding")(x)
        if dropout_rate > 0:
            x = keras.layers.Dropout(dropout_rate, name="dropout")(x)
        for stage, (blocks, count) in enumerate(zip(depth, heads, strict=True)):
            if stage:
                pooling = _pooling(grid, 2 * x.shape[-1], spt, f"pooling_{stage - 1}")
                x, grid = pooling(x), pooling.patch_grid(x.shape)
            for index in range(blocks):
                x = TransformerBlock(
                    count,
                    mlp_ratio,
                    qkv_bias=False,
                    drop_path_rate=drop_path_rate,
                    dropout_rate=dropout_rate,
                    head_dim=head_dim,
                    lsa=lsa,
                    norm_epsilon=1e-5,
                    kernel_init="xavier_normal",
                    use_projection=(count, head_dim) != (1, x.shape[-1]),
                    name=f"stage_{stage}_block_{index}",
                )(x)
        # The norm of the other tokens would be thrown away.
        x = keras.layers.LayerNormalization(epsilon=1e-5, name="norm")(x[:, 0])
        head = classification_head(num_classes, "class_head", "xavier_normal")
        super().__init__(inputs, {"class": head(x)}, **kwargs)

    def weight_names(self):
        return weights.of_model(self)

    @classmethod
    def describe_weights(cls, names):
        return weights.describe_pit(names)


def _by_stage(depth, num_heads) -> tuple[int, ...]:
    """Returns the heads of each stage."""
    stages = len(depth) if isinstance(depth, (tuple, list)) else 0
    heads = num_heads if isinstance(num_heads, (tuple, list)) else (num_heads,) * stages
    if not stages or len(heads) != stages:
        raise InputError(
            "depth should have a number for each stage, and num_heads too or be one for all. "
            f"Received: depth={depth}, num_heads={num_heads}"
        )
    for stage in range(stages):
        check_positive(**{f"depth[{stage}]": depth[stage], f"num_heads[{stage}]": heads[stage]})
    return tuple(heads)


def _check_halves(image_size, patch_size: int, poolings: int) -> None:
    """Checks that every pooling of SPT gets an even number of patches along each side."""
    times = 2**poolings
    name = f"patch_size {patch_size} times {times}, as spt needs for {poolings} poolings,"
    check_image_size(image_size, patch_size * times, name)


def _pooling(grid, width: int, spt: bool, name: str) -> keras.layers.Layer:
    if not spt:
        return ConvPooling(grid, name=name)
    return ShiftedPatchPooling(width, grid, True, "xavier_normal", name=name)
