"""ResNets of bottlenecks.

"Deep Residual Learning for Image Recognition" (He et al., 2016).
"""

from collections.abc import Sequence

import keras
import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.layers import ConvNormStem, GroupedConvBlock
from keras_deit.models.arguments import (
    check_classes,
    check_image_size,
    check_positive,
    check_rate,
)
from keras_deit.models.classifier import Classifier, classification_head
from keras_deit.models.registry import register_family
from keras_deit.models.residual_nets import weights

# The channels that a block returns divided by those of its 3×3 convolution.
_EXPANSION = 4
_STAGES = 4


@register_family
class ResNetClassifier(Classifier):
    """The ResNet of the paper: a 7×7 stem, and stages of bottlenecks (table 1).

    As in PyTorch's libraries the stride of a bottleneck is in its 3×3 convolution, convolutions pad
    both sides alike and have no bias; the last scale of each branch starts at 0, as in timm. In
    keras.applications the stride is in the first convolution of a bottleneck, and convolutions have
    biases: its weights are those of another model.

    Args:
        image_size: side in pixels, or (height, width).
        stem_width: channels of the stem and of the first stage's 3×3 convolutions; each further
            stage has twice as many.
        depth: number of blocks of each stage; or one number for all four.
        drop_path_rate: rate of the last block; it grows linearly from 0 at the first.
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
        stem_width: int = 64,
        depth: int | Sequence[int] = (3, 4, 6, 3),
        drop_path_rate: float = 0.0,
        num_classes: int = 1000,
        in_channels: int = 3,
        **kwargs,
    ):
        height, width = check_image_size(image_size, 1)
        depth = tuple(depth) if isinstance(depth, (tuple, list)) else (depth,) * _STAGES
        if not depth:
            raise InputError("depth should have a number for each stage. Received: ()")
        check_positive(**{f"depth[{stage}]": blocks for stage, blocks in enumerate(depth)})
        check_positive(stem_width=stem_width, in_channels=in_channels)
        check_classes(num_classes)
        check_rate(drop_path_rate=drop_path_rate)
        inputs = keras.Input((height, width, in_channels), name="image")
        x = ConvNormStem(stem_width, side=7, pooled=True, name="stem")(inputs)
        rates = iter(np.linspace(0, drop_path_rate, sum(depth)).tolist())
        for stage, blocks in enumerate(depth):
            narrow = stem_width * 2**stage
            for index in range(blocks):
                x = GroupedConvBlock(
                    narrow * _EXPANSION,
                    group_width=narrow,
                    strides=2 if stage and index == 0 else 1,
                    squeeze_ratio=0.0,
                    drop_path_rate=next(rates),
                    expansion=_EXPANSION,
                    name=f"stage_{stage}_block_{index}",
                )(x)
        x = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="pooling")(x)
        logits = classification_head(num_classes, "class_head")(x)
        super().__init__(inputs, {"class": logits}, **kwargs)
