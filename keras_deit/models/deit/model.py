"""DeiT and distilled DeiT.

"Training data-efficient image transformers & distillation through attention" (Touvron et al.,
2021).
"""

import keras

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.layers import (
    PatchEmbedding,
    PositionEmbedding,
    PrependToken,
    ResidualConvStem,
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
from keras_deit.models.deit import weights
from keras_deit.models.registry import register_family

_STEMS = {"linear": PatchEmbedding, "conv": ResidualConvStem}


def _stem(stem: str, spt: bool) -> type:
    if stem not in _STEMS:
        raise unknown_name("stem", stem, _STEMS)
    if spt and stem != "linear":
        raise InputError(f"SPT takes the place of the linear stem. Received: stem={stem!r}")
    return ShiftedPatchTokenization if spt else _STEMS[stem]


@register_family
class DeiT(Classifier):
    """The data-efficient image transformer, with or without a distillation token.

    The tokens are [class, (distillation,) patches], and positions are added to all of them
    (§4, figure 2). The distillation token has its own head.

    Args:
        image_size: side in pixels, or (height, width); multiples of `patch_size`.
        patch_size: side of a patch in pixels.
        embed_dim: width of the tokens, a multiple of `num_heads`.
        depth: number of blocks.
        num_heads: number of heads of each self-attention.
        mlp_ratio: hidden width of the MLPs divided by `embed_dim`.
        qkv_bias: whether queries, keys and values have a bias.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0 at the first.
        distilled: whether there is a distillation token with its head.
        num_classes: number of classes of each head; 0 for no heads: the output is then what they
            would take, the mean of it with two heads.
        dropout_rate: rate of the dropout after the positions, each attention and both layers of
            each MLP. The published DeiT has none.
        stem: "linear" for the published projection of the patches, or "conv" for a small
            convolutional network, which learns faster on little data; its `patch_size` is a power
            of two.
        in_channels: number of channels of the images; 1 for gray images. Weights for color images
            are summed or repeated.
        spt: whether shifted patch tokenization takes the place of the linear stem ("Vision
            Transformer for Small-Size Datasets", §3.2).
        lsa: whether the self-attention is locality self-attention (§3.3 there): a learned
            temperature for each head, and no token attends to itself.

    Input: images (batch, height, width, in_channels), normalized as `image_format` says.
    Output: logits (batch, num_classes), float32.
    """

    weight_tables = weights.TABLES
    # transformers' dense layer behind the class token, for other tasks than classification.
    ignored_weights = (*Classifier.ignored_weights, r"(\w+\.)?pooler\.dense\.(weight|bias)")

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        distilled: bool = False,
        num_classes: int = 1000,
        dropout_rate: float = 0.0,
        stem: str = "linear",
        in_channels: int = 3,
        spt: bool = False,
        lsa: bool = False,
        **kwargs,
    ):
        height, width = check_image_size(image_size, patch_size)
        check_positive(
            embed_dim=embed_dim, in_channels=in_channels, depth=depth, num_heads=num_heads
        )
        check_classes(num_classes)
        check_ratio(mlp_ratio=mlp_ratio)
        check_rate(drop_path_rate=drop_path_rate, dropout_rate=dropout_rate)
        inputs = keras.Input((height, width, in_channels), name="image")
        embedding = _stem(stem, spt)(patch_size, embed_dim, name="patch_embedding")
        x = embedding(inputs)
        if distilled:
            x = PrependToken(weight_decay=True, name="distillation_token")(x)
        x = PrependToken(name="class_token")(x)
        x = PositionEmbedding(embedding.patch_grid(inputs.shape), name="position_embedding")(x)
        if dropout_rate > 0:
            x = keras.layers.Dropout(dropout_rate, name="dropout")(x)
        for index in range(depth):
            x = TransformerBlock(
                num_heads,
                mlp_ratio,
                qkv_bias,
                drop_path_rate * index / max(depth - 1, 1),
                dropout_rate=dropout_rate,
                lsa=lsa,
                name=f"block_{index}",
            )(x)
        x = keras.layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
        heads = {"class": classification_head(num_classes, "class_head")(x[:, 0])}
        if distilled:
            heads["distillation"] = classification_head(num_classes, "distillation_head")(x[:, 1])
        super().__init__(inputs, heads, **kwargs)

    def weight_names(self):
        embedding = self.get_layer("patch_embedding")
        own = weights.SPT if isinstance(embedding, ShiftedPatchTokenization) else {}
        return {publisher: {**table, **own} for publisher, table in self.weight_tables.items()}

    @classmethod
    def describe_weights(cls, names):
        return weights.describe(names)
