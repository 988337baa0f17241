"""DeiT and distilled DeiT.

"Training data-efficient image transformers & distillation through attention" (Touvron et al.,
2021).
"""

from collections.abc import Sequence

import keras

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.layers import (
    ClassAttentionBlock,
    PatchEmbedding,
    PositionEmbedding,
    PrependToken,
    ResidualConvStem,
    ShiftedPatchTokenization,
    TransformerBlock,
)
from keras_deit.models.arguments import (
    block_channels,
    check_classes,
    check_image_size,
    check_positive,
    check_rate,
    check_ratio,
)
from keras_deit.models.classifier import Classifier, classification_head
from keras_deit.models.deit import weights
from keras_deit.models.deit.residual import block_options, start_weights
from keras_deit.models.registry import register_family

_STEMS = {"linear": PatchEmbedding, "conv": ResidualConvStem}


def _stem(stem: str, spt: bool) -> type:
    if stem not in _STEMS:
        raise unknown_name("stem", stem, _STEMS)
    if spt and stem != "linear":
        raise InputError(f"SPT takes the place of the linear stem. Received: stem={stem!r}")
    return ShiftedPatchTokenization if spt else _STEMS[stem]


def _class_token_entry(class_token_at: int, depth: int, class_depth: int) -> int:
    """Returns the number of blocks before the class token.

    Raises:
        InputError: it is not among the blocks, or does not fit the blocks of class attention.
    """
    last = depth if class_depth else depth - 1
    if not 0 <= class_token_at <= last:
        raise InputError(f"class_token_at should be from 0 to {last}. Received: {class_token_at}")
    if class_depth < 0:
        raise InputError(f"class_depth should be 0 or more. Received: {class_depth}")
    if class_depth and class_token_at not in (0, depth):
        raise InputError(
            f"With class_depth {class_depth} the class token enters after all {depth} blocks. "
            f"Received: class_token_at={class_token_at}"
        )
    return depth if class_depth else class_token_at


def _with_tokens(x, distilled: bool):
    if distilled:
        x = PrependToken(weight_decay=True, name="distillation_token")(x)
    return PrependToken(name="class_token")(x)


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
        residual: how the residual branches of very deep models are weighted (H. Touvron's thesis,
            §3.5): "none"; "rezero", a scalar that starts at 0; "scalar", which starts at the value
            of LayerScale; "fixup" and "t_fixup" with their initial weights; "layer_scale";
            "layer_scale_zero", which starts at 0; "layer_scale_uniform", drawn between 0 and twice
            the value; "layer_scale_frozen", which is not trained. Class attention has the same,
            without Fixup's biases.
        layer_scale_init: initial factors; None for those of the method, which for LayerScale are
            0.1 up to 18 blocks, 1e-5 up to 24 and 1e-6 above.
        class_token_at: index of the block before which the class token, and the distillation
            token, enters; with 0 they have positions, later they have none (§3.6.2 there).
        uniform_drop_path: whether every block has the rate `drop_path_rate`.
        class_depth: number of blocks of class attention behind those of self-attention, in which
            the class token alone changes (§3.6.2 there); `class_token_at` is then `depth`.
        gates: whether the channels that the dense layers of the blocks read have gates, from which
            pruning learns what to keep.
        kept: the channels that are left after pruning, for each block as `TransformerBlock` takes
            them; None for all.

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
        residual: str = "none",
        layer_scale_init: float | None = None,
        class_token_at: int = 0,
        uniform_drop_path: bool = False,
        class_depth: int = 0,
        gates: bool = False,
        kept: Sequence[dict] | None = None,
        **kwargs,
    ):
        height, width = check_image_size(image_size, patch_size)
        check_positive(
            embed_dim=embed_dim, in_channels=in_channels, depth=depth, num_heads=num_heads
        )
        check_classes(num_classes)
        check_ratio(mlp_ratio=mlp_ratio)
        check_rate(drop_path_rate=drop_path_rate, dropout_rate=dropout_rate)
        channels = block_channels(gates, kept, depth + class_depth)
        inputs = keras.Input((height, width, in_channels), name="image")
        embedding = _stem(stem, spt)(patch_size, embed_dim, name="patch_embedding")
        x = embedding(inputs)
        entry = _class_token_entry(class_token_at, depth, class_depth)
        if entry == 0:
            x = _with_tokens(x, distilled)
        x = PositionEmbedding(embedding.patch_grid(inputs.shape), name="position_embedding")(x)
        if dropout_rate > 0:
            x = keras.layers.Dropout(dropout_rate, name="dropout")(x)
        weighting = block_options(residual, depth, layer_scale_init)
        kernel_init = "xavier_normal" if residual in ("fixup", "t_fixup") else "normal"
        blocks = []
        for index in range(depth):
            if index == entry > 0:
                x = _with_tokens(x, distilled)
            block = TransformerBlock(
                num_heads,
                mlp_ratio,
                qkv_bias,
                drop_path_rate * (1 if uniform_drop_path else index / max(depth - 1, 1)),
                dropout_rate=dropout_rate,
                lsa=lsa,
                kernel_init=kernel_init,
                **weighting,
                **channels[index],
                name=f"block_{index}",
            )
            blocks.append(block)
            x = block(x)
        if entry == depth:
            x = _with_tokens(x, distilled)
        for index in range(class_depth):
            x = ClassAttentionBlock(
                num_heads,
                mlp_ratio,
                qkv_bias,
                weighting.get("layer_scale_init"),
                num_class_tokens=1 + distilled,
                **channels[depth + index],
                name=f"class_block_{index}",
            )(x)
        x = keras.layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
        heads = {"class": classification_head(num_classes, "class_head")(x[:, 0])}
        if distilled:
            heads["distillation"] = classification_head(num_classes, "distillation_head")(x[:, 1])
        super().__init__(inputs, heads, **kwargs)
        start_weights(residual, blocks, list(self.head_layers.values()))

    def weight_names(self):
        embedding = self.get_layer("patch_embedding")
        return weights.of_model(isinstance(embedding, ShiftedPatchTokenization))

    def values_without_layer_scale(self):
        return {"residual": "none", "layer_scale_init": None}

    @classmethod
    def describe_weights(cls, names):
        return weights.describe(names)
