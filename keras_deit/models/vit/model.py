"""ViT and its hybrids with a ResNet, as AugReg trained them.

"An Image is Worth 16x16 Words" (Dosovitskiy et al., 2021) and "How to train your ViT? Data,
Augmentation, and Regularization in Vision Transformers" (Steiner et al., 2022).
"""

from collections.abc import Sequence

import keras

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.layers import (
    BottleneckUnit,
    PatchEmbedding,
    PositionEmbedding,
    PrependToken,
    ResNetRoot,
    TransformerBlock,
)
from keras_deit.layers.dense import Dense
from keras_deit.layers.initializers import dense_initializers
from keras_deit.layers.introspection import attention_layers
from keras_deit.models.arguments import (
    block_channels,
    check_classes,
    check_image_size,
    check_positive,
    check_rate,
    check_ratio,
)
from keras_deit.models.classifier import Classifier, classification_head
from keras_deit.models.registry import register_family
from keras_deit.models.vit import weights

_POOLINGS = ("token", "avg")
# Pixels of the image for one of the grid behind the root.
_ROOT_STRIDE = 4
# Channels of a stage's output divided by those of its 3×3 convolutions.
_EXPANSION = 4


@register_family
class ViT(Classifier):
    """The vision transformer, on patches of the image or of a ResNet's grid.

    The defaults compute what the weights of AugReg were trained with: the tanh form of GELU, group
    normalization with epsilon 1e-6, and filters that are divided by their standard deviation +
    1e-5. timm's port computes GELU by erf, has epsilon 1e-5 and divides by √(variance + 1e-8): with
    `approximate_gelu=False, group_norm_epsilon=1e-5, standardization="variance"` the logits of the
    same weights are timm's, up to 1e-3 away. The published accuracies of timm's files are timm's.

    A new head and a new class token are 0, positions are N(0, 0.02²), kernels of the blocks uniform
    (Glorot and Bengio, 2010), and those of convolutions and of the representation LeCun-normal.

    Args:
        image_size: side in pixels, or (height, width); multiples of the pixels per patch.
        patch_size: side of a patch or (height, width), in pixels, or in cells of the ResNet's grid.
        embed_dim: width of the tokens, a multiple of `num_heads`.
        depth: number of blocks.
        num_heads: number of heads of each self-attention.
        mlp_ratio: hidden width of the MLPs divided by `embed_dim`.
        qkv_bias: whether queries, keys and values have a bias.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0 at the first.
        dropout_rate: rate of the dropout after the positions, each attention and both layers of
            each MLP.
        num_classes: number of classes; 0 for no head: the output is then what it would take.
        head_bias: initial bias of the head.
        representation_size: width of a dense layer with tanh before the head; None for none. Files
            of a pretraining may have one.
        pooling: what the head takes: "token" for the class token, or "avg" for the mean of all
            tokens; then there is no class token.
        positions: whether positions are added to the tokens.
        stem_depths: number of units in each stage of a ResNet in front of the patches; an empty one
            for its root alone, None for no ResNet. Each stage but the first halves the grid, and
            the root makes one cell of 4×4 pixels.
        stem_width: channels of the root, and of the 3×3 convolutions in the first stage; a multiple
            of 32.
        stage_channels: channels of the output of each stage; by default 4·`stem_width`, and twice
            as many in each further stage. Multiples of 128.
        approximate_gelu: whether GELU is computed in its tanh form.
        group_norm_epsilon: epsilon of the group normalizations.
        standardization: "deviation" or "variance", see `StandardizedConv`.
        in_channels: number of channels of the images; 1 for gray images. Weights for color images
            are summed or repeated.
        gates: whether the channels that the dense layers of the blocks read have gates, from which
            pruning learns what to keep.
        kept: the channels that are left after pruning, for each block as `TransformerBlock` takes
            them; None for all.

    Input: images (batch, height, width, in_channels), normalized as `image_format` says.
    Output: logits (batch, num_classes), float32.

    Raises:
        InputError: a value is impossible, or sizes do not fit together.
    """

    weight_tables = weights.TABLES
    # What else is in transformers' files: a dense layer for other tasks than classification.
    ignored_weights = (*Classifier.ignored_weights, r"(\w+\.)?pooler\.dense\.(weight|bias)")
    head_weights = (r"pre_logits(\.fc)?[./](weight|kernel|bias)",)
    training_values = (*Classifier.training_values, "head_bias")

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch_size: int | tuple[int, int] = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        dropout_rate: float = 0.0,
        num_classes: int = 1000,
        head_bias: float = 0.0,
        representation_size: int | None = None,
        pooling: str = "token",
        positions: bool = True,
        stem_depths: Sequence[int] | None = None,
        stem_width: int = 64,
        stage_channels: Sequence[int] | None = None,
        approximate_gelu: bool = True,
        group_norm_epsilon: float = 1e-6,
        standardization: str = "deviation",
        in_channels: int = 3,
        gates: bool = False,
        kept: Sequence[dict] | None = None,
        **kwargs,
    ):
        check_positive(
            embed_dim=embed_dim, depth=depth, num_heads=num_heads, in_channels=in_channels
        )
        if representation_size is not None:
            check_positive(representation_size=representation_size)
        check_classes(num_classes)
        check_ratio(mlp_ratio=mlp_ratio)
        check_rate(drop_path_rate=drop_path_rate, dropout_rate=dropout_rate)
        if pooling not in _POOLINGS:
            raise unknown_name("pooling", pooling, _POOLINGS)
        stages = _stages(stem_depths, stem_width, stage_channels)
        sides = _image_sides(image_size, patch_size, stages)
        channels = block_channels(gates, kept, depth)
        inputs = keras.Input((*sides, in_channels), name="image")
        x = inputs
        if stages is not None:
            x = _resnet(x, stem_width, stages, standardization, group_norm_epsilon)
        embedding = PatchEmbedding(
            patch_size, embed_dim, kernel_init="lecun_normal", name="patch_embedding"
        )
        grid = embedding.patch_grid(x.shape)
        x = embedding(x)
        if pooling == "token":
            x = PrependToken(initializer="zeros", name="class_token")(x)
        if positions:
            x = PositionEmbedding(grid, name="position_embedding")(x)
            if dropout_rate > 0:
                x = keras.layers.Dropout(dropout_rate, name="dropout")(x)
        for index in range(depth):
            x = TransformerBlock(
                num_heads,
                mlp_ratio,
                qkv_bias,
                drop_path_rate * index / max(depth - 1, 1),
                dropout_rate=dropout_rate,
                approximate_gelu=approximate_gelu,
                kernel_init="xavier_uniform",
                **channels[index],
                name=f"block_{index}",
            )(x)
        x = keras.layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
        if pooling == "token":
            x = x[:, 0]
        else:
            x = keras.layers.GlobalAveragePooling1D(name="pooling")(x)
        if representation_size is not None:
            initial = dense_initializers("lecun_normal", x.shape[-1])
            x = Dense(representation_size, **initial, name="pre_logits")(x)
            x = keras.layers.Activation("tanh", name="tanh")(x)
        head = classification_head(num_classes, "class_head", kernel_init="zeros")
        head.bias_initializer = keras.initializers.Constant(head_bias)
        super().__init__(inputs, {"class": head(x)}, **kwargs)

    def weight_names(self):
        attention, *_ = attention_layers(self)
        has_stages = any(isinstance(layer, BottleneckUnit) for layer in self.layers)
        return weights.tables(self.blocks[0].input.shape[-1] // attention.num_heads, has_stages)

    @classmethod
    def describe_weights(cls, names):
        return weights.describe(names)

    def explain_misfit(self, held, wanted):
        return weights.explain_misfit(held, wanted)


def _stages(depths, width: int, channels) -> list[tuple[int, int]] | None:
    """Returns the units of each stage and the channels of its output; None for no ResNet."""
    if depths is None:
        return None
    check_positive(stem_width=width)
    if channels is None:
        channels = [_EXPANSION * width * 2**index for index in range(len(depths))]
    if len(channels) != len(depths):
        raise InputError(
            f"stage_channels should have a number for each of the {len(depths)} stages of "
            f"stem_depths. Received: {tuple(channels)}"
        )
    for count, outputs in zip(depths, channels, strict=True):
        check_positive(stem_depths=count, stage_channels=outputs)
        if outputs % (32 * _EXPANSION):
            raise InputError(f"stage_channels should be multiples of 128. Received: {outputs}")
    return list(zip(depths, channels, strict=True))


def _stride(stages) -> int:
    """Returns the pixels of the image for one cell of the ResNet's grid; 1 without it."""
    return 1 if stages is None else _ROOT_STRIDE * 2 ** max(len(stages) - 1, 0)


def _image_sides(image_size, patch_size, stages) -> tuple[int, int]:
    """Returns height and width of the images, checked against the pixels per patch."""
    what = "patch_size" if stages is None else "the pixels per patch,"
    stride = _stride(stages)
    if not isinstance(patch_size, (tuple, list)):
        check_positive(patch_size=patch_size)
        return check_image_size(image_size, patch_size * stride, what)
    check_positive(**dict(zip(("patch height", "patch width"), patch_size, strict=True)))
    both = check_image_size(image_size, 1)
    pairs = zip(both, patch_size, strict=True)
    return tuple(check_image_size(side, patch * stride, what)[0] for side, patch in pairs)


def _resnet(images, width: int, stages, standardization: str, epsilon: float):
    values = {"standardization": standardization, "norm_epsilon": epsilon}
    x = ResNetRoot(width, **values, name="root")(images)
    for stage, (count, channels) in enumerate(stages):
        for unit in range(count):
            x = BottleneckUnit(
                channels // _EXPANSION,
                strides=2 if stage > 0 and unit == 0 else 1,
                **values,
                name=f"stage_{stage}_unit_{unit}",
            )(x)
    return x
