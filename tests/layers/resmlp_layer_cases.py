"""Cases of ResMLP's layers."""

import resmlp_reference as reference
from harness import Case, Effect

from keras_deit import layers

TOKENS = (3, 5, 12)

CASES = (
    Case(
        layers.Affine,
        {},
        TOKENS,
        (Effect("initial_value", 0.1, "initial values"),),
        reference.affine,
    ),
    Case(
        layers.ResMLPBlock,
        {"layer_scale_init": 0.1},
        TOKENS,
        (
            Effect("layer_scale_init", 1e-4, "initial values"),
            Effect("mlp_ratio", 2.5, "shapes"),
            Effect("drop_path_rate", 0.5, "training output"),
        ),
        reference.resmlp_block,
    ),
    Case(
        layers.ClassMLPBlock,
        {"layer_scale_init": 0.1},
        TOKENS,
        (Effect("layer_scale_init", 1e-4, "initial values"), Effect("mlp_ratio", 2.5, "shapes")),
        reference.class_mlp_block,
    ),
)
