"""Cases of BinaryViT's layers."""

import binary_reference as reference
from harness import Case, Effect

from keras_deit import layers

TOKENS = (2, 8, 6)
_GRID = {"grid": (4, 2)}

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
        {"outputs": 3},
        TOKENS,
        (Effect("outputs", 12, "shapes"), Effect("norm", "layer", "shapes")),
        reference.unit,
    ),
    Case(
        layers.BinaryAttention,
        {"num_heads": 3, "reduction": 2, **_GRID},
        TOKENS,
        (
            Effect("num_heads", 2, "output"),
            Effect("grid", (2, 4), "output"),
            Effect("reduction", 1, "shapes"),
            Effect("norm", "layer", "shapes"),
            Effect("dropout_rate", 0.5, "training output"),
        ),
        lambda x, w: reference.attention(x, w, 3, (4, 2), 2)[0],
    ),
    Case(
        layers.BinaryBlock,
        {"num_heads": 3, "mlp_ratio": 2, "reduction": 2, **_GRID},
        TOKENS,
        (
            Effect("num_heads", 2, "output"),
            Effect("mlp_ratio", 3, "shapes"),
            Effect("grid", (2, 4), "output"),
            Effect("reduction", 1, "shapes"),
            Effect("pooling_sizes", (3,), "shapes"),
            Effect("affine", False, "shapes"),
            Effect("norm", "layer", "shapes"),
            Effect("drop_path_rate", 0.5, "training output"),
            Effect("dropout_rate", 0.5, "training output"),
            Effect("attention_dropout_rate", 0.5, "training output"),
        ),
        lambda x, w: reference.block(x, w, 3, (4, 2), 2),
    ),
    Case(
        layers.BinaryMerging,
        {"width": 12, **_GRID},
        TOKENS,
        (
            Effect("width", 6, "shapes"),
            Effect("grid", (2, 4), "output"),
            Effect("binary", False, "shapes"),
            Effect("norm", "layer", "shapes"),
        ),
        lambda x, w: reference.merging(x, w, (4, 2)),
    ),
)
