"""Cases of ResMLP."""

import dataclasses

from harness import Case, Effect
from resmlp_reference import resmlp_logits

from keras_deit.models import ResMLP

RESMLP = Case(
    ResMLP,
    {
        "image_size": (12, 8),
        "patch_size": 4,
        "embed_dim": 8,
        "depth": 2,
        "num_classes": 5,
    },
    (3, 12, 8, 3),
    (
        Effect("image_size", (8, 16), "shapes"),
        Effect("patch_size", 2, "shapes"),
        Effect("embed_dim", 6, "shapes"),
        Effect("depth", 3, "shapes"),
        Effect("mlp_ratio", 2.0, "shapes"),
        Effect("drop_path_rate", 0.5, "training output"),
        Effect("layer_scale_init", 1e-4, "initial values"),
        Effect("pooling", "class_mlp", "shapes"),
        Effect("num_classes", 4, "shapes"),
        Effect("in_channels", 1, "shapes"),
    ),
    lambda images, w: resmlp_logits(images, w, depth=2),
)

CLASS_MLP = dataclasses.replace(
    RESMLP, arguments={**RESMLP.arguments, "pooling": "class_mlp"}, effects=()
)

CASES = {"ResMLP": RESMLP, "ResMLP with class-MLP": CLASS_MLP}
