"""ResMLP.

"ResMLP: Feedforward networks for image classification with data-efficient training" (Touvron et
al., 2021).
"""

import keras

from keras_deit.core.errors import InputError
from keras_deit.layers import Affine, ClassMLPBlock, PatchEmbedding, PrependToken, ResMLPBlock
from keras_deit.models.arguments import check_classes, check_image_size, check_positive, check_ratio
from keras_deit.models.classifier import Classifier, classification_head
from keras_deit.models.registry import register_family
from keras_deit.models.resmlp import weights

_CLASS_BLOCKS = 2


@register_family
class ResMLP(Classifier):
    """Linear layers over the patches and MLPs over the channels, in turn: no attention, no norm
    that takes statistics, no positions.

    The linear layers over the patches bind a model to one image size.

    Args:
        image_size: side in pixels, or (height, width); multiples of `patch_size`.
        patch_size: side of a patch in pixels.
        embed_dim: width of the tokens.
        depth: number of blocks.
        mlp_ratio: hidden width of the MLPs divided by `embed_dim`.
        drop_path_rate: rate of every block.
        layer_scale_init: initial γ of LayerScale.
        pooling: "mean" of the patches, or "class_mlp" for two blocks that gather them into a
            class token.
        num_classes: number of classes of the head; 0 for no head: the output is then what it would
            take.
        in_channels: number of channels of the images; 1 for gray images. Weights for color images
            are summed or repeated.

    Input: images (batch, height, width, in_channels), normalized as `image_format` says.
    Output: logits (batch, num_classes), float32.
    """

    weight_tables = weights.TABLES

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        embed_dim: int = 384,
        depth: int = 12,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
        layer_scale_init: float = 0.1,
        pooling: str = "mean",
        num_classes: int = 1000,
        in_channels: int = 3,
        **kwargs,
    ):
        height, width = check_image_size(image_size, patch_size)
        check_positive(embed_dim=embed_dim, in_channels=in_channels, depth=depth)
        check_classes(num_classes)
        check_ratio(mlp_ratio=mlp_ratio)
        if pooling not in ("mean", "class_mlp"):
            raise InputError(f"pooling should be 'mean' or 'class_mlp'. Received: {pooling!r}")
        inputs = keras.Input((height, width, in_channels), name="image")
        x = PatchEmbedding(patch_size, embed_dim, name="patch_embedding")(inputs)
        for index in range(depth):
            x = ResMLPBlock(layer_scale_init, mlp_ratio, drop_path_rate, name=f"block_{index}")(x)
        if pooling == "class_mlp":
            # The authors' code excludes no variable of ResMLP from weight decay.
            x = PrependToken(weight_decay=True, name="class_token")(x)
            for index in range(_CLASS_BLOCKS):
                x = ClassMLPBlock(layer_scale_init, mlp_ratio, name=f"class_block_{index}")(x)
        x = Affine(name="norm")(x)
        if pooling == "class_mlp":
            x = x[:, 0]
        else:
            x = keras.layers.GlobalAveragePooling1D("channels_last", name="mean")(x)
        heads = {"class": classification_head(num_classes, "class_head")(x)}
        super().__init__(inputs, heads, **kwargs)

    @classmethod
    def describe_weights(cls, names):
        return weights.describe(names)
