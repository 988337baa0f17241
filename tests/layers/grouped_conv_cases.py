"""Cases of the layers of RegNetY and ResNet."""

import regnet_reference as reference
from harness import Case, Effect

from keras_deit import layers

CASES = (
    Case(
        layers.ConvNormStem,
        {"width": 4},
        (2, 9, 8, 3),
        (
            Effect("width", 6, "shapes"),
            Effect("side", 5, "shapes"),
            Effect("pooled", True, "output"),
        ),
        reference.stem,
    ),
    Case(
        layers.ConvNormStem,
        {"width": 4, "side": 7, "pooled": True},
        (2, 11, 8, 3),
        (),
        reference.resnet_stem,
    ),
    Case(
        layers.GroupedConvBlock,
        {"width": 8, "group_width": 4, "strides": 2},
        (2, 5, 4, 4),
        (
            Effect("width", 12, "shapes"),
            Effect("group_width", 2, "shapes"),
            Effect("strides", 1, "output"),
            Effect("squeeze_ratio", 0.5, "shapes"),
            Effect("drop_path_rate", 0.5, "training output"),
            Effect("expansion", 2, "shapes"),
        ),
        lambda grid, w: reference.block(grid, w, strides=2),
    ),
    Case(
        layers.GroupedConvBlock,
        {"width": 8, "group_width": 2},
        (2, 3, 2, 8),
        (),
        lambda grid, w: reference.block(grid, w, strides=1),
    ),
    Case(
        layers.GroupedConvBlock,
        {"width": 8, "group_width": 2, "strides": 2, "squeeze_ratio": 0.0, "expansion": 4},
        (2, 5, 4, 4),
        (),
        lambda grid, w: reference.block(grid, w, strides=2),
    ),
)
