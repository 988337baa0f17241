"""At least one case for each model family of the package."""

import cait_model_cases
import cvit_model_cases
import numpy as np
import numpy_reference as reference
from binary_model_cases import CASES as BINARY_CASES
from deit3_model_cases import CASES as DEIT3_CASES
from harness import Case, Effect
from pit_t2t_model_cases import CASES as PIT_T2T_CASES
from regnet_model_cases import CASES as REGNET_CASES
from resmlp_model_cases import CASES as RESMLP_CASES
from resnet_model_cases import CASES as RESNET_CASES
from small_data_model_cases import CASES as SMALL_DATA_CASES
from swin_model_cases import CASES as SWIN_CASES
from vit_model_cases import CASES as VIT_CASES

from keras_deit.models import DeiT


def deit_logits(images, w):
    return np.mean(list(reference.deit_heads(images, w, depth=2, num_heads=2).values()), axis=0)


DISTILLED = Case(
    DeiT,
    {
        "image_size": (12, 8),
        "patch_size": 4,
        "embed_dim": 8,
        "depth": 2,
        "num_heads": 2,
        "distilled": True,
        "num_classes": 5,
    },
    (3, 12, 8, 3),
    (
        Effect("image_size", (8, 16), "shapes"),
        Effect("patch_size", 2, "shapes"),
        Effect("embed_dim", 6, "shapes"),
        Effect("depth", 3, "shapes"),
        Effect("num_heads", 4, "output"),
        Effect("mlp_ratio", 2.0, "shapes"),
        Effect("qkv_bias", False, "shapes"),
        Effect("drop_path_rate", 0.5, "training output"),
        Effect("distilled", False, "shapes"),
        Effect("num_classes", 4, "shapes"),
        Effect("in_channels", 1, "shapes"),
        Effect("dropout_rate", 0.5, "training output"),
        Effect("stem", "conv", "shapes"),
        Effect("spt", True, "shapes"),
        Effect("lsa", True, "shapes"),
        Effect("residual", "rezero", "shapes"),
        Effect("layer_scale_init", 1e-3, "initial values", {"residual": "layer_scale"}),
        Effect("uniform_drop_path", True, "training output", {"drop_path_rate": 0.5}),
        Effect("class_token_at", 1, "shapes"),
        Effect("class_depth", 1, "shapes"),
        Effect("gates", True, "shapes"),
        Effect("kept", [{"mlp_hidden": 3}, {"attention_input": [0, 5]}], "shapes"),
    ),
    deit_logits,
)

PLAIN = Case(
    DeiT, {**DISTILLED.arguments, "distilled": False}, DISTILLED.input_shape, (), deit_logits
)

# By the name that the tests show. One case of each family has effects.
CASES = {
    "distilled DeiT": DISTILLED,
    "DeiT": PLAIN,
    **BINARY_CASES,
    **DEIT3_CASES,
    **REGNET_CASES,
    **RESMLP_CASES,
    **RESNET_CASES,
    **VIT_CASES,
    **cait_model_cases.CASES,
    **cvit_model_cases.CASES,
    **PIT_T2T_CASES,
    **SMALL_DATA_CASES,
    **SWIN_CASES,
}
