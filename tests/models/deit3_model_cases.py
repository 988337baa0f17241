"""Cases of DeiT III."""

import dataclasses

from deit3_reference import HMLP_BIASES, deit3_logits
from harness import Case, Effect

from keras_deit.models import DeiT3


def logits(images, w):
    return deit3_logits(images, w, depth=2, num_heads=2)


DEIT3 = Case(
    DeiT3,
    {
        "image_size": (32, 48),
        "patch_size": 16,
        "embed_dim": 8,
        "depth": 2,
        "num_heads": 2,
        "layer_scale_init": 0.1,
        "num_classes": 5,
    },
    (3, 32, 48, 3),
    (
        Effect("image_size", (16, 48), "shapes"),
        Effect("patch_size", 8, "shapes"),
        Effect("embed_dim", 12, "shapes"),
        Effect("depth", 3, "shapes"),
        Effect("num_heads", 4, "output"),
        Effect("mlp_ratio", 2.0, "shapes"),
        Effect("qkv_bias", False, "shapes"),
        Effect("drop_path_rate", 0.5, "training output"),
        Effect("layer_scale_init", 1e-4, "initial values"),
        Effect("layer_scale_init", None, "shapes"),
        Effect("branches", 2, "shapes"),
        Effect("stem", "hmlp", "shapes"),
        Effect("num_classes", 4, "shapes"),
        Effect("in_channels", 1, "shapes"),
        Effect("gates", True, "shapes"),
        Effect("kept", [{"mlp_hidden": 3}, {"attention_input": [0, 5]}], "shapes"),
    ),
    logits,
)

PARALLEL = dataclasses.replace(DEIT3, arguments={**DEIT3.arguments, "branches": 2}, effects=())
PARALLEL_PLAIN = dataclasses.replace(
    PARALLEL, arguments={**PARALLEL.arguments, "layer_scale_init": None}
)
HMLP = dataclasses.replace(
    DEIT3, arguments={**DEIT3.arguments, "stem": "hmlp"}, effects=(), canceled=HMLP_BIASES
)

CASES = {
    "DeiT III": DEIT3,
    "parallel ViT": PARALLEL,
    "parallel ViT without LayerScale": PARALLEL_PLAIN,
    "DeiT III with hMLP": HMLP,
}
