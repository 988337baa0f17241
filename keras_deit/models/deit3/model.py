"""DeiT III and the parallel ViT.

"DeiT III: Revenge of the ViT" (Touvron et al., 2022); "Three things everyone should know about
Vision Transformers" (Touvron et al., 2022).
"""

from collections.abc import Sequence

import keras

from keras_deit.core.errors import InputError
from keras_deit.layers import (
    HierarchicalMLPStem,
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
from keras_deit.models.classifier import Classifier, classification_head
from keras_deit.models.deit3 import weights
from keras_deit.models.registry import register_family


@register_family
class DeiT3(Classifier):
    """The vision transformer of DeiT III: a ViT with LayerScale and uniform stochastic depth.

    Positions are added to the patches only; the class token is put in front after that and has
    none.

    Args:
        image_size: side in pixels, or (height, width); multiples of `patch_size`.
        patch_size: side of a patch in pixels.
        embed_dim: width of the tokens, a multiple of `num_heads`.
        depth: number of blocks.
        num_heads: number of heads of each self-attention.
        mlp_ratio: hidden width of the MLPs divided by `embed_dim`.
        qkv_bias: whether queries, keys and values have a bias.
        drop_path_rate: rate of every block.
        layer_scale_init: initial γ of LayerScale; None leaves LayerScale out.
        branches: attentions, and MLPs, side by side in a block: 2 in the parallel ViT.
        stem: "linear", or "hmlp" for the hierarchical MLP stem, whose patches have 16 pixels.
        num_classes: number of classes of the head; 0 for no head: the output is then what it would
            take.
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
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        layer_scale_init: float | None = 1e-4,
        branches: int = 1,
        stem: str = "linear",
        num_classes: int = 1000,
        in_channels: int = 3,
        gates: bool = False,
        kept: Sequence[dict] | None = None,
        **kwargs,
    ):
        height, width = check_image_size(image_size, patch_size)
        check_positive(
            embed_dim=embed_dim,
            in_channels=in_channels,
            depth=depth,
            num_heads=num_heads,
            branches=branches,
        )
        check_classes(num_classes)
        check_ratio(mlp_ratio=mlp_ratio)
        channels = block_channels(gates, kept, depth)
        inputs = keras.Input((height, width, in_channels), name="image")
        embedding = _stem(stem, patch_size, embed_dim)
        x = embedding(inputs)
        x = PositionEmbedding(embedding.patch_grid(inputs.shape), name="position_embedding")(x)
        x = PrependToken(name="class_token")(x)
        for index in range(depth):
            x = TransformerBlock(
                num_heads,
                mlp_ratio,
                qkv_bias,
                drop_path_rate,
                layer_scale_init,
                branches,
                **channels[index],
                name=f"block_{index}",
            )(x)
        x = keras.layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
        heads = {"class": classification_head(num_classes, "class_head")(x[:, 0])}
        super().__init__(inputs, heads, **kwargs)

    def attention_variables(self):
        # The authors' script leaves out the second branch of parallel blocks.
        first = [block.attention_branch[1] for block in self.blocks]
        return [variable for attention in first for variable in attention.weights]

    def weight_names(self):
        timm = "timm, parallel" if self.get_config()["branches"] > 1 else "timm"
        return {"authors": weights.TABLES["authors"], "timm": weights.TABLES[timm]}

    def values_without_layer_scale(self):
        return {"layer_scale_init": None}

    @classmethod
    def describe_weights(cls, names):
        return weights.describe(names)


def _stem(stem: str, patch_size: int, embed_dim: int) -> keras.layers.Layer:
    if stem == "linear":
        return PatchEmbedding(patch_size, embed_dim, name="patch_embedding")
    if stem != "hmlp":
        raise InputError(f"stem should be 'linear' or 'hmlp'. Received: {stem!r}")
    if patch_size != 16:
        raise InputError(f"patch_size should be 16 with stem 'hmlp'. Received: {patch_size}")
    return HierarchicalMLPStem(embed_dim, name="patch_embedding")
