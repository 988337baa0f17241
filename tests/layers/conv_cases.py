"""Cases of PatchConvNet's layers."""

import patchconvnet_reference as reference
from harness import Case, Effect

from keras_deit import layers

GRID = (3, 5, 4, 8)

CASES = (
    Case(
        layers.ConvStem,
        {"embed_dim": 8},
        (2, 33, 32, 3),
        (Effect("embed_dim", 16, "shapes"),),
        reference.stem,
    ),
    Case(
        layers.SqueezeExcitation,
        {"hidden_dim": 3},
        GRID,
        (Effect("hidden_dim", 2, "shapes"),),
        reference.squeeze_excitation,
    ),
    Case(
        layers.ConvBlock,
        {"layer_scale_init": 0.1},
        GRID,
        (
            Effect("squeeze_ratio", 0.5, "shapes"),
            Effect("drop_path_rate", 0.5, "training output"),
            Effect("layer_scale_init", 1e-4, "initial values"),
            Effect("layer_scale_init", None, "shapes"),
        ),
        reference.conv_block,
    ),
    Case(layers.PerClassHead, {}, (3, 5, 12), (), reference.per_class_head),
)
