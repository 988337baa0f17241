"""Cases of BinaryViT's layers."""

import binary_reference as reference
from harness import Case, Effect

from keras_deit import layers

TOKENS = (2, 24, 24)
_GRID = {"grid": (4, 6)}

CASES = (
    Case(
        layers.BinaryDense,
        {"outputs": 5},
        TOKENS,
        (Effect("outputs", 3, "shapes"),),
        reference.binary_dense,
    ),
    Case(
        layers.BinaryConv,
        {"outputs": 5},
        (2, 4, 6, 3),
        (Effect("outputs", 3, "shapes"), Effect("kernel_size", 3, "shapes")),
        reference.binary_conv,
    ),
    Case(layers.RPReLU, {}, TOKENS, (), reference.rprelu),
    Case(
        layers.BinaryUnit,
        {"outputs": 8},
        TOKENS,
        (Effect("outputs", 12, "shapes"), Effect("norm", "layer", "shapes")),
        reference.unit,
    ),
    Case(
        layers.BinaryAttention,
        {"num_heads": 2, "reduction": 2, **_GRID},
        TOKENS,
        (
            Effect("num_heads", 4, "output"),
            Effect("grid", (6, 4), "output"),
            Effect("reduction", 1, "shapes"),
            Effect("norm", "layer", "shapes"),
            Effect("dropout_rate", 0.5, "training output"),
        ),
        lambda x, w: reference.attention(x, w, 2, (4, 6), 2)[0],
    ),
    Case(
        layers.BinaryBlock,
        {"num_heads": 2, "mlp_ratio": 2, "reduction": 2, **_GRID},
        TOKENS,
        (
            Effect("num_heads", 4, "output"),
            Effect("mlp_ratio", 3, "shapes"),
            Effect("grid", (6, 4), "output"),
            Effect("reduction", 1, "shapes"),
            Effect("pooling_sizes", (3,), "shapes"),
            Effect("affine", False, "shapes"),
            Effect("norm", "layer", "shapes"),
            Effect("drop_path_rate", 0.5, "training output"),
            Effect("dropout_rate", 0.5, "training output"),
            Effect("attention_dropout_rate", 0.5, "training output"),
        ),
        lambda x, w: reference.block(x, w, 2, (4, 6), 2),
    ),
    Case(
        layers.BinaryMerging,
        {"width": 48, **_GRID},
        TOKENS,
        (
            Effect("width", 24, "shapes"),
            Effect("grid", (6, 4), "output"),
            Effect("binary", False, "shapes"),
            Effect("norm", "layer", "shapes"),
        ),
        lambda x, w: reference.merging(x, w, (4, 6)),
    ),
)
