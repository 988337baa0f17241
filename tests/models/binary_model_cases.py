"""The case of BinaryViT: two stages, the first with reduced keys and values."""

import binary_reference as reference
from harness import Case, Effect

from keras_deit.models import BinaryViT

BINARY = Case(
    BinaryViT,
    {
        "image_size": (16, 32),
        "embed_dim": (12, 24),
        "depth": (1, 1),
        "num_heads": (2, 4),
        "mlp_ratio": 2,
        "reduction": (2, 1),
        "num_classes": 5,
    },
    (3, 16, 32, 3),
    (
        Effect("image_size", (32, 32), "shapes"),
        Effect("patch_size", 2, "shapes"),
        Effect("embed_dim", (8, 16), "shapes"),
        Effect("depth", (2, 1), "shapes"),
        Effect("num_heads", 4, "output"),
        Effect("mlp_ratio", (2, 4), "shapes"),
        Effect("reduction", 1, "shapes"),
        Effect("binary_merging", False, "shapes"),
        Effect("patch_norm", False, "shapes"),
        Effect("pooling_sizes", (3,), "shapes"),
        Effect("affine", False, "shapes"),
        Effect(
            "class_token",
            True,
            "shapes",
            {
                **{"embed_dim": 12, "depth": 1, "num_heads": 2, "reduction": 1},
                "pooling_sizes": (),
            },
        ),
        Effect("norm", "layer", "shapes"),
        Effect("drop_path_rate", 0.5, "training output"),
        Effect("num_classes", 4, "shapes"),
        Effect("dropout_rate", 0.5, "training output"),
        Effect("attention_dropout_rate", 0.5, "training output"),
        Effect("in_channels", 1, "shapes"),
    ),
    lambda images, w: reference.logits(images, w, (4, 8), (2, 4), (2, 1)),
    # Each is a constant of its channel in the residual stream or in front of a norm.
    canceled=(
        *("patch_embedding/projection/bias", "patch_norm/beta", "merging_0/activation/after"),
        *("/projection/activation/after", "/contract/activation/after"),
        *("/affine1/beta", "/affine2/beta"),
        *(f"/affine_{axis}{size}/beta" for axis in "hw" for size in (3, 5)),
    ),
)

CASES = {"BinaryViT": BINARY}
