"""RegNetY, the convnet that taught DeiT.

"Designing Network Design Spaces" (Radosavovic et al., 2020).
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
    check_ratio,
)
from keras_deit.models.classifier import Classifier, classification_head
from keras_deit.models.registry import register_family
from keras_deit.models.regnet import weights


@register_family
class RegNet(Classifier):
    """The RegNetY of the paper: four stages of residual blocks with grouped convolutions and
    squeeze-and-excitation.

    The stem and the first block of each stage halve the grid. An average pooling and a linear layer
    give the logits.

    Args:
        image_size: side in pixels, or (height, width).
        widths: channels of each stage, multiples of `group_width`.
        depth: number of blocks of each stage; or one number for all.
        group_width: channels of each group of the 3×3 convolutions.
        stem_width: channels of the stem.
        squeeze_ratio: hidden width of the squeeze-and-excitation of a block divided by the channels
            of its input.
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
        widths: Sequence[int] = (224, 448, 1232, 3024),
        depth: int | Sequence[int] = (2, 4, 11, 1),
        group_width: int = 112,
        stem_width: int = 32,
        squeeze_ratio: float = 0.25,
        drop_path_rate: float = 0.0,
        num_classes: int = 1000,
        in_channels: int = 3,
        **kwargs,
    ):
        height, width = check_image_size(image_size, 1)
        depth = _by_stage(widths, depth)
        check_positive(group_width=group_width, stem_width=stem_width, in_channels=in_channels)
        check_classes(num_classes)
        check_ratio(squeeze_ratio=squeeze_ratio)
        check_rate(drop_path_rate=drop_path_rate)
        inputs = keras.Input((height, width, in_channels), name="image")
        x = ConvNormStem(stem_width, name="stem")(inputs)
        rates = iter(np.linspace(0, drop_path_rate, sum(depth)).tolist())
        for stage, (channels, blocks) in enumerate(zip(widths, depth, strict=True)):
            for index in range(blocks):
                x = GroupedConvBlock(
                    channels,
                    group_width,
                    strides=2 if index == 0 else 1,
                    squeeze_ratio=squeeze_ratio,
                    drop_path_rate=next(rates),
                    name=f"stage_{stage}_block_{index}",
                )(x)
        x = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="pooling")(x)
        logits = classification_head(num_classes, "class_head")(x)
        super().__init__(inputs, {"class": logits}, **kwargs)

    @classmethod
    def describe_weights(cls, names):
        return weights.describe(names)


def _by_stage(widths: Sequence[int], depth: int | Sequence[int]) -> tuple[int, ...]:
    """Returns the number of blocks of each stage."""
    if not isinstance(depth, (tuple, list)) and isinstance(widths, (tuple, list)):
        depth = (depth,) * len(widths)
    stages = [len(x) if isinstance(x, (tuple, list)) else 0 for x in (widths, depth)]
    if not stages[0] or stages[0] != stages[1]:
        raise InputError(
            "widths and depth should have a number for each stage. "
            f"Received: widths={widths}, depth={depth}"
        )
    for stage, (channels, blocks) in enumerate(zip(widths, depth, strict=True)):
        check_positive(**{f"widths[{stage}]": channels, f"depth[{stage}]": blocks})
    return tuple(depth)
