"""PatchConvNet.

"Augmenting Convolutional networks with attention-based aggregation" (Touvron et al., 2021).
"""

import keras

from keras_deit.core.errors import InputError
from keras_deit.layers import ClassAttentionBlock, ConvBlock, ConvStem, PerClassHead, PrependToken
from keras_deit.models.arguments import check_classes, check_image_size, check_positive, check_ratio
from keras_deit.models.classifier import Classifier, classification_head
from keras_deit.models.patchconvnet import weights
from keras_deit.models.registry import register_family

# Side in pixels: four convolutions of stride 2.
_PATCH = 16


@register_family
class PatchConvNet(Classifier):
    """The convnet of one resolution whose patches are aggregated by attention.

    A convolutional stem, residual convolutional blocks on the grid of patches, then one block of
    class attention in place of the average pooling. There are no positions.

    Args:
        image_size: side in pixels, or (height, width); multiples of 16.
        embed_dim: width of the patches, a multiple of 8.
        depth: number of convolutional blocks.
        drop_path_rate: rate of every convolutional block; the class attention has none.
        layer_scale_init: initial value of every LayerScale.
        squeeze_ratio: hidden width of the squeeze-and-excitation divided by `embed_dim`.
        class_mlp_ratio: hidden width of the class attention's MLP divided by `embed_dim`.
        token_per_class: whether each class has a token, which attends to the patches alone and
            gives the score of that class; else one class token gives all.
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
        embed_dim: int = 384,
        depth: int = 60,
        drop_path_rate: float = 0.0,
        layer_scale_init: float = 1e-4,
        squeeze_ratio: float = 0.25,
        class_mlp_ratio: float = 3.0,
        token_per_class: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
        **kwargs,
    ):
        height, width = check_image_size(image_size, _PATCH, "the patch side")
        check_positive(embed_dim=embed_dim, in_channels=in_channels, depth=depth)
        check_classes(num_classes)
        check_ratio(squeeze_ratio=squeeze_ratio, class_mlp_ratio=class_mlp_ratio)
        if token_per_class and num_classes == 0:
            raise InputError("token_per_class needs classes. Received: num_classes=0")
        inputs = keras.Input((height, width, in_channels), name="image")
        x = ConvStem(embed_dim, name="stem")(inputs)
        for index in range(depth):
            x = ConvBlock(squeeze_ratio, drop_path_rate, layer_scale_init, name=f"block_{index}")(x)
        patches = height // _PATCH * (width // _PATCH)
        x = keras.layers.Reshape((patches, embed_dim), name="patches")(x)
        tokens = num_classes if token_per_class else 1
        x = PrependToken(tokens, name="class_token")(x)
        x = ClassAttentionBlock(
            num_heads=1,
            mlp_ratio=class_mlp_ratio,
            layer_scale_init=layer_scale_init,
            num_class_tokens=tokens,
            patches_only=token_per_class,
            name="class_block_0",
        )(x)
        x = keras.layers.LayerNormalization(epsilon=1e-6, name="norm")(x[:, :tokens])
        if token_per_class:
            logits = PerClassHead(dtype="float32", name="class_head")(x)
        else:
            logits = classification_head(num_classes, "class_head")(x[:, 0])
        super().__init__(inputs, {"class": logits}, **kwargs)

    def class_axes(self):
        tokens = self.get_layer("class_token").token
        per_class = self.get_config()["token_per_class"]
        return super().class_axes() + ([(tokens, 1)] if per_class else [])

    def weight_names(self):
        per_class = self.get_config()["token_per_class"]
        return {"authors": weights.TABLES["authors, token per class" if per_class else "authors"]}

    @classmethod
    def describe_weights(cls, names):
        return weights.describe(names)
