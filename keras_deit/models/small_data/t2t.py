"""T2T-ViT for small data sets, with SPT and LSA: SL-T2T.

"Tokens-to-Token ViT" (Yuan et al., 2021) and "Vision Transformer for Small-Size Datasets" (Lee, Lee
and Song, 2021); github.com/aanna0701/SPT_LSA_ViT, models/t2t.py.
"""

import keras

from keras_deit.layers import PrependToken, SinusoidalPositions, SoftSplit, T2TBlock
from keras_deit.layers.dense import Dense
from keras_deit.layers.initializers import dense_initializers
from keras_deit.layers.shifted_patches import shift_and_concatenate
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
class SmallDataT2T(Classifier):
    """The T2T-ViT that its authors train from scratch on images of 32 and 64 pixels.

    Soft splits make each token of 3×3 overlapping neighbors; between them a token transformer with
    one head narrows the tokens to `token_dim`. The attention of the blocks behind them adds its
    normalized input to its output, beside the residual connection. Positions are sines and cosines,
    which are not trained, and which are computed anew for another image size. Everything else
    starts as in DeiT.

    The authors' files have a norm, `tokens_to_token.norm`, that their code never uses. Loading
    leaves it out. Its 18·`token_dim` values are in the authors' numbers of parameters, not in those
    here.

    Args:
        image_size: side in pixels, or (height, width); multiples of 2 for each soft split.
        embed_dim: width of the tokens in the blocks, a multiple of `num_heads`.
        token_dim: width of the tokens behind a token transformer.
        depth: number of blocks.
        num_heads: number of heads of the blocks; one adds its values to its output, not its input.
        mlp_ratio: hidden width of the MLPs of the blocks divided by `embed_dim`.
        soft_splits: number of soft splits, of which each halves both sides; None for 3 if the image
            has 64×64 pixels and 2 for all others, as in the authors' code.
        qkv_bias: whether queries, keys and values of the blocks have a bias.
        qk_scale: factor of QKᵀ in the blocks; None for 1/√(width of a head).
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0 in the first.
        spt: whether the first soft split takes the image beside copies of it that are shifted by a
            pixel (§3.1); there is no norm and no dense layer here.
        lsa: whether all self-attention is locality self-attention (§3.2).
        num_classes: number of classes; 0 for no head: the output is then what it would take.
        dropout_rate: rate of the dropout after the positions, after each attention of the blocks
            and after both layers of their MLPs.
        in_channels: number of channels of the images; 1 for gray images.

    Input: images (batch, height, width, in_channels), normalized as `image_format` says.
    Output: logits (batch, num_classes), float32.
    """

    weight_tables = weights.T2T_TABLES
    ignored_weights = (*Classifier.ignored_weights, weights.T2T_UNUSED)

    def __init__(
        self,
        image_size: int | tuple[int, int] = 32,
        embed_dim: int = 256,
        token_dim: int = 64,
        depth: int = 12,
        num_heads: int = 4,
        mlp_ratio: float = 2.0,
        soft_splits: int | None = None,
        qkv_bias: bool = False,
        qk_scale: float | None = None,
        drop_path_rate: float = 0.0,
        spt: bool = False,
        lsa: bool = False,
        num_classes: int = 10,
        dropout_rate: float = 0.0,
        in_channels: int = 3,
        **kwargs,
    ):
        splits = _soft_splits(image_size) if soft_splits is None else soft_splits
        check_positive(
            embed_dim=embed_dim,
            token_dim=token_dim,
            depth=depth,
            num_heads=num_heads,
            soft_splits=splits,
            in_channels=in_channels,
        )
        check_classes(num_classes)
        check_ratio(mlp_ratio=mlp_ratio)
        check_rate(drop_path_rate=drop_path_rate, dropout_rate=dropout_rate)
        name = f"the stride of {splits} soft splits,"
        height, width = check_image_size(image_size, 2**splits, name)
        inputs = keras.Input((height, width, in_channels), name="image")
        x, grid = shift_and_concatenate(inputs, 1) if spt else inputs, None
        for index in range(splits):
            if index:
                x = T2TBlock(1, token_dim, 1.0, lsa=lsa, name=f"token_transformer_{index}")(x)
            split = SoftSplit(grid, name=f"soft_split_{index}")
            x, grid = split(x), split.patch_grid(x.shape)
        initial = dense_initializers("normal", x.shape[-1])
        x = Dense(embed_dim, **initial, name="patch_projection")(x)
        x = PrependToken(name="class_token")(x)
        x = SinusoidalPositions(grid, name="position_embedding")(x)
        if dropout_rate > 0:
            x = keras.layers.Dropout(dropout_rate, name="dropout")(x)
        for index in range(depth):
            x = T2TBlock(
                num_heads,
                None,
                mlp_ratio,
                qkv_bias,
                qk_scale,
                lsa,
                drop_path_rate * index / max(depth - 1, 1),
                dropout_rate,
                name=f"block_{index}",
            )(x)
        x = keras.layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
        heads = {"class": classification_head(num_classes, "class_head")(x[:, 0])}
        super().__init__(inputs, heads, **kwargs)

    @classmethod
    def describe_weights(cls, names):
        return weights.describe_t2t(names)


def _soft_splits(image_size) -> int:
    sides = image_size if isinstance(image_size, (tuple, list)) else (image_size,)
    return 3 if set(sides) == {64} else 2
