"""CaiT.

"Going deeper with Image Transformers" (Touvron et al., 2021).
"""

from collections.abc import Sequence

import keras

from keras_deit.layers import (
    ClassAttentionBlock,
    PatchEmbedding,
    PositionEmbedding,
    PrependToken,
    TransformerBlock,
)
from keras_deit.models.arguments import (
    block_channels,
    check_classes,
    check_image_size,
    check_positive,
    check_ratio,
)
from keras_deit.models.cait import weights
from keras_deit.models.classifier import Classifier, classification_head
from keras_deit.models.registry import register_family


@register_family
class CaiT(Classifier):
    """The class-attention image transformer, with or without a distillation token.

    The patches alone, with positions, go through self-attention with talking heads; then the
    class token enters and gathers them in the blocks of class attention (§3). A distillation
    token enters with it, attends likewise, and has a head of its own: by table 3.14 of H. Touvron's
    thesis, XXS24 goes from 78.4 to 78.5 % top-1 with it, M24 from 84.8 to 84.7 %. The released
    weights have none.

    Args:
        image_size: side in pixels, or (height, width); multiples of `patch_size`.
        patch_size: side of a patch in pixels.
        embed_dim: width of the tokens, a multiple of `num_heads`.
        depth: number of blocks of self-attention.
        num_heads: number of heads of each attention.
        mlp_ratio: hidden width of the MLPs divided by `embed_dim`.
        qkv_bias: whether queries, keys and values have a bias.
        drop_path_rate: rate of every block of self-attention; those of class attention have none.
        layer_scale_init: initial value of every LayerScale; None leaves LayerScale out.
        class_depth: number of blocks of class attention.
        distilled: whether there is a distillation token with its head.
        num_classes: number of classes of each head; 0 for no heads: the output is then what they
            would take, the mean of it with two heads.
        in_channels: number of channels of the images; 1 for gray images. Weights for color images
            are summed or repeated.
        gates: whether the channels that the dense layers of the blocks read have gates, from which
            pruning learns what to keep.
        kept: the channels that are left after pruning, for each block as `TransformerBlock` takes
            them; None for all.

    Input: images (batch, height, width, in_channels), normalized as `image_format` says.
    Output: logits (batch, num_classes), float32.
    """

    weight_tables = weights.TABLES

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        embed_dim: int = 384,
        depth: int = 24,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        layer_scale_init: float | None = 1e-5,
        class_depth: int = 2,
        distilled: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
        gates: bool = False,
        kept: Sequence[dict] | None = None,
        **kwargs,
    ):
        height, width = check_image_size(image_size, patch_size)
        check_positive(
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            class_depth=class_depth,
            in_channels=in_channels,
        )
        check_classes(num_classes)
        check_ratio(mlp_ratio=mlp_ratio)
        channels = block_channels(gates, kept, depth + class_depth)
        inputs = keras.Input((height, width, in_channels), name="image")
        embedding = PatchEmbedding(patch_size, embed_dim, name="patch_embedding")
        x = embedding(inputs)
        x = PositionEmbedding(embedding.patch_grid(inputs.shape), name="position_embedding")(x)
        for index in range(depth):
            x = TransformerBlock(
                num_heads,
                mlp_ratio,
                qkv_bias,
                drop_path_rate,
                layer_scale_init,
                talking_heads=True,
                **channels[index],
                name=f"block_{index}",
            )(x)
        if distilled:
            x = PrependToken(weight_decay=True, name="distillation_token")(x)
        x = PrependToken(name="class_token")(x)
        tokens = 1 + distilled
        for index in range(class_depth):
            x = ClassAttentionBlock(
                num_heads,
                mlp_ratio,
                qkv_bias,
                layer_scale_init,
                tokens,
                **channels[depth + index],
                name=f"class_block_{index}",
            )(x)
        x = keras.layers.LayerNormalization(epsilon=1e-6, name="norm")(x[:, :tokens])
        heads = {"class": classification_head(num_classes, "class_head")(x[:, 0])}
        if distilled:
            heads["distillation"] = classification_head(num_classes, "distillation_head")(x[:, 1])
        super().__init__(inputs, heads, **kwargs)

    def values_without_layer_scale(self):
        return {"layer_scale_init": None}

    @classmethod
    def describe_weights(cls, names):
        return weights.describe(names)
