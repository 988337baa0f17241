"""The cases of the layers of the hybrids' ResNet."""

from harness import Case, Effect
from vit_reference import conv, group_norm, root, unit

from keras_deit import layers

CASES = (
    Case(
        layers.StandardizedConv,
        {"filters": 5, "kernel_size": 3, "strides": 2},
        # An even and an odd side are padded differently.
        (2, 8, 5, 4),
        (
            Effect("filters", 6, "shapes"),
            Effect("kernel_size", 1, "shapes"),
            Effect("strides", 1, "output"),
            Effect("standardization", "variance", "output"),
        ),
        lambda x, w: conv(x, w, strides=2),
    ),
    Case(
        layers.GroupNorm,
        {},
        (2, 4, 3, 64),
        (Effect("epsilon", 1e-2, "output"), Effect("gamma_init", 0.0, "initial values")),
        group_norm,
    ),
    Case(
        layers.ResNetRoot,
        {"width": 32},
        (2, 16, 13, 3),
        (
            Effect("width", 64, "shapes"),
            Effect("standardization", "variance", "output"),
            Effect("norm_epsilon", 1e-2, "output"),
        ),
        root,
    ),
    Case(
        layers.BottleneckUnit,
        {"width": 32, "strides": 2},
        (2, 6, 5, 16),
        (
            Effect("width", 64, "shapes"),
            Effect("strides", 1, "output"),
            Effect("standardization", "variance", "output"),
            Effect("norm_epsilon", 1e-2, "output"),
        ),
        lambda x, w: unit(x, w, strides=2),
    ),
)
