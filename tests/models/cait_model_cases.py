"""Cases of CaiT and of PatchConvNet."""

import numpy as np
from cait_reference import cait_heads
from harness import Case, Effect
from patchconvnet_reference import patchconvnet_logits

from keras_deit.models import CaiT, PatchConvNet


def cait_logits(images, w):
    heads = cait_heads(images, w, depth=2, class_depth=2, num_heads=2)
    return np.mean(list(heads.values()), axis=0)


CAIT = Case(
    CaiT,
    {
        "image_size": (12, 8),
        "patch_size": 4,
        "embed_dim": 8,
        "depth": 2,
        "num_heads": 2,
        "layer_scale_init": 0.1,
        "num_classes": 5,
    },
    (3, 12, 8, 3),
    (
        Effect("image_size", (8, 16), "shapes"),
        Effect("patch_size", 2, "shapes"),
        Effect("embed_dim", 6, "shapes"),
        Effect("depth", 3, "shapes"),
        Effect("num_heads", 4, "shapes"),
        Effect("mlp_ratio", 2.0, "shapes"),
        Effect("qkv_bias", False, "shapes"),
        Effect("drop_path_rate", 0.5, "training output"),
        Effect("layer_scale_init", 0.2, "initial values"),
        Effect("class_depth", 1, "shapes"),
        Effect("distilled", True, "shapes"),
        Effect("num_classes", 4, "shapes"),
        Effect("in_channels", 1, "shapes"),
        Effect("gates", True, "shapes"),
        Effect("kept", [{}, {"mlp_hidden": 3}, {"attention_output": [1, 5]}, {}], "shapes"),
    ),
    cait_logits,
)

DISTILLED_CAIT = Case(
    CaiT, {**CAIT.arguments, "distilled": True}, CAIT.input_shape, (), cait_logits
)

PATCHCONVNET = Case(
    PatchConvNet,
    {
        "image_size": (32, 16),
        "embed_dim": 16,
        "depth": 2,
        "layer_scale_init": 0.1,
        "num_classes": 5,
    },
    (3, 32, 16, 3),
    (
        Effect("image_size", (16, 48), "output"),
        Effect("embed_dim", 8, "shapes"),
        Effect("depth", 3, "shapes"),
        Effect("drop_path_rate", 0.5, "training output"),
        Effect("layer_scale_init", 0.2, "initial values"),
        Effect("squeeze_ratio", 0.5, "shapes"),
        Effect("class_mlp_ratio", 2.0, "shapes"),
        Effect("token_per_class", True, "shapes"),
        Effect("num_classes", 4, "shapes"),
        Effect("in_channels", 1, "shapes"),
    ),
    lambda images, w: patchconvnet_logits(images, w, depth=2),
)

TOKEN_PER_CLASS = Case(
    PatchConvNet,
    {**PATCHCONVNET.arguments, "token_per_class": True},
    PATCHCONVNET.input_shape,
    (),
    lambda images, w: patchconvnet_logits(images, w, depth=2, token_per_class=True),
)

CASES = {
    "CaiT": CAIT,
    "distilled CaiT": DISTILLED_CAIT,
    "PatchConvNet": PATCHCONVNET,
    "PatchConvNet, one token per class": TOKEN_PER_CLASS,
}
