"""ViT for small data sets, with SPT and LSA: SL-ViT.

"Vision Transformer for Small-Size Datasets" (Lee, Lee and Song, 2021);
github.com/aanna0701/SPT_LSA_ViT, models/vit.py.
"""

import keras

from keras_deit.layers import (
    DensePatchEmbedding,
    PositionEmbedding,
    PrependToken,
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
class SmallDataViT(Classifier):
    """The ViT that its authors train from scratch on images of 32 and 64 pixels.

    It has narrow heads and MLPs, no bias in queries, keys and values, and the same stochastic depth
    in every block. Tokens and positions start from N(0, 1), dense layers from Xavier's normal
    distribution.

    Args:
        image_size: side in pixels, or (height, width); multiples of `patch_size`.
        patch_size: side of a patch in pixels; 2 or more with `spt`.
        embed_dim: width of the tokens.
        depth: number of blocks.
        num_heads: number of heads of each self-attention.
        head_dim: width of a head, whatever `embed_dim` is. One head as wide as the tokens has no
            projection behind it.
        mlp_ratio: hidden width of the MLPs divided by `embed_dim`.
        drop_path_rate: stochastic depth of every block.
        spt: whether shifted patch tokenization embeds the patches (§3.1).
        lsa: whether the self-attention is locality self-attention (§3.2).
        num_classes: number of classes; 0 for no head: the output is then what it would take.
        dropout_rate: rate of the dropout after the positions, each attention and both layers of
            each MLP.
        in_channels: number of channels of the images; 1 for gray images.

    Input: images (batch, height, width, in_channels), normalized as `image_format` says.
    Output: logits (batch, num_classes), float32.
    """

    weight_tables = weights.VIT_TABLES

    def __init__(
        self,
        image_size: int | tuple[int, int] = 32,
        patch_size: int = 4,
        embed_dim: int = 192,
        depth: int = 9,
        num_heads: int = 12,
        head_dim: int = 16,
        mlp_ratio: float = 2.0,
        drop_path_rate: float = 0.0,
        spt: bool = False,
        lsa: bool = False,
        num_classes: int = 10,
        dropout_rate: float = 0.0,
        in_channels: int = 3,
        **kwargs,
    ):
        height, width = check_image_size(image_size, patch_size)
        check_positive(
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            head_dim=head_dim,
            in_channels=in_channels,
        )
        check_classes(num_classes)
        check_ratio(mlp_ratio=mlp_ratio)
        check_rate(drop_path_rate=drop_path_rate, dropout_rate=dropout_rate)
        inputs = keras.Input((height, width, in_channels), name="image")
        embedding = (ShiftedPatchTokenization if spt else DensePatchEmbedding)(
            patch_size, embed_dim, kernel_init="xavier_normal", name="patch_embedding"
        )
        x = embedding(inputs)
        x = PrependToken(initializer="unit_normal", name="class_token")(x)
        x = PositionEmbedding(
            embedding.patch_grid(inputs.shape), "unit_normal", name="position_embedding"
        )(x)
        if dropout_rate > 0:
            x = keras.layers.Dropout(dropout_rate, name="dropout")(x)
        for index in range(depth):
            x = TransformerBlock(
                num_heads,
                mlp_ratio,
                qkv_bias=False,
                drop_path_rate=drop_path_rate,
                dropout_rate=dropout_rate,
                head_dim=head_dim,
                lsa=lsa,
                norm_epsilon=1e-5,
                kernel_init="xavier_normal",
                use_projection=(num_heads, head_dim) != (1, embed_dim),
                name=f"block_{index}",
            )(x)
        x = keras.layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
        head = classification_head(num_classes, "class_head", "xavier_normal")
        super().__init__(inputs, {"class": head(x[:, 0])}, **kwargs)

    def weight_names(self):
        return weights.of_model(self)

    @classmethod
    def describe_weights(cls, names):
        return weights.describe_vit(names)
