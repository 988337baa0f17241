"""CaiT for small data sets, with SPT and LSA: SL-CaiT.

"Vision Transformer for Small-Size Datasets" (Lee, Lee and Song, 2021);
github.com/aanna0701/SPT_LSA_ViT, models/cait.py.
"""

import keras

from keras_deit.layers import (
    DensePatchEmbedding,
    MixedHeadsBlock,
    PositionEmbedding,
    PrependToken,
    ShiftedPatchTokenization,
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
class SmallDataCaiT(Classifier):
    """The CaiT that its authors train from scratch on images of 32 and 64 pixels.

    It is not the CaiT of "Going deeper with Image Transformers": the heads are wider than the
    tokens, queries, keys and values have no bias, the mixtures of the heads have none either and
    start from N(0, 1), the class token is not among the keys, and keys and values of its blocks are
    the patches without a norm. The initial LayerScale goes by the number of the block: 0.1 up to
    the 18th, 1e-5 up to the 24th, 1e-6 above; the blocks of the class token count from 1 again.

    Args:
        image_size: side in pixels, or (height, width); multiples of `patch_size`.
        patch_size: side of a patch in pixels; 2 or more with `spt`.
        embed_dim: width of the tokens.
        depth: number of blocks of self-attention.
        num_heads: number of heads of each attention.
        head_dim: width of a head, whatever `embed_dim` is.
        mlp_ratio: hidden width of the MLPs divided by `embed_dim`.
        class_depth: number of blocks of the class token.
        drop_path_rate: stochastic depth of every block, those of the class token too.
        spt: whether shifted patch tokenization embeds the patches (§3.1).
        lsa: whether the attentions have a learned factor for each head, and those among patches
            another diagonal (§3.2).
        diagonal: what `lsa` does to the score of a patch for itself. "zero", as in the authors'
            code and in the published results, replaces it by 0, which forbids nothing; "masked"
            forbids it, as the paper describes and as in the other models. See
            `MixedHeadsAttention`.
        num_classes: number of classes; 0 for no head: the output is then what it would take.
        dropout_rate: rate of the dropout after the positions, each attention and both layers of
            each MLP.
        in_channels: number of channels of the images; 1 for gray images.

    Input: images (batch, height, width, in_channels), normalized as `image_format` says.
    Output: logits (batch, num_classes), float32.
    """

    weight_tables = weights.CAIT_TABLES

    def __init__(
        self,
        image_size: int | tuple[int, int] = 32,
        patch_size: int = 4,
        embed_dim: int = 192,
        depth: int = 24,
        num_heads: int = 4,
        head_dim: int = 64,
        mlp_ratio: float = 2.0,
        class_depth: int = 2,
        drop_path_rate: float = 0.0,
        spt: bool = False,
        lsa: bool = False,
        diagonal: str = "zero",
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
            class_depth=class_depth,
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
        x = PositionEmbedding(
            embedding.patch_grid(inputs.shape), "unit_normal", name="position_embedding"
        )(x)
        if dropout_rate > 0:
            x = keras.layers.Dropout(dropout_rate, name="dropout")(x)

        def block(index, name, class_token):
            return MixedHeadsBlock(
                num_heads,
                head_dim,
                mlp_ratio,
                drop_path_rate,
                _layer_scale(index),
                dropout_rate,
                class_token,
                lsa,
                diagonal,
                name=f"{name}_{index}",
            )

        for index in range(depth):
            x = block(index, "block", class_token=False)(x)
        x = PrependToken(initializer="unit_normal", name="class_token")(x)
        for index in range(class_depth):
            x = block(index, "class_block", class_token=True)(x)
        x = keras.layers.LayerNormalization(epsilon=1e-5, name="norm")(x[:, :1])
        head = classification_head(num_classes, "class_head", "xavier_normal")
        super().__init__(inputs, {"class": head(x[:, 0])}, **kwargs)

    def weight_names(self):
        return weights.of_model(self)

    @classmethod
    def describe_weights(cls, names):
        return weights.describe_cait(names)


def _layer_scale(index: int) -> float:
    """Returns the initial LayerScale of a block of a stage, the first of which has index 0."""
    return 0.1 if index < 18 else 1e-5 if index < 24 else 1e-6
