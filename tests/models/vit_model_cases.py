"""The case of ViT: a hybrid, which has all of its layers."""

from harness import Case, Effect
from vit_reference import hybrid_logits

from keras_deit.models import ViT

HYBRID = Case(
    ViT,
    {
        "image_size": (16, 32),
        "patch_size": 1,
        "embed_dim": 8,
        "depth": 2,
        "num_heads": 2,
        "stem_depths": (1, 1),
        "stem_width": 32,
        "num_classes": 5,
    },
    (3, 16, 32, 3),
    (
        Effect("image_size", (16, 16), "shapes"),
        Effect("patch_size", 2, "shapes"),
        Effect("patch_size", (2, 1), "shapes"),
        Effect("embed_dim", 6, "shapes"),
        Effect("depth", 3, "shapes"),
        Effect("num_heads", 4, "output"),
        Effect("mlp_ratio", 2.0, "shapes"),
        Effect("qkv_bias", False, "shapes"),
        Effect("drop_path_rate", 0.5, "training output"),
        Effect("dropout_rate", 0.5, "training output"),
        Effect("num_classes", 4, "shapes"),
        Effect("head_bias", -2.0, "initial values"),
        Effect("representation_size", 6, "shapes"),
        Effect("pooling", "avg", "shapes"),
        Effect("positions", False, "shapes"),
        Effect("stem_depths", (1, 2), "shapes"),
        Effect("stem_depths", (), "shapes"),
        Effect("stem_depths", None, "shapes"),
        Effect("stem_width", 64, "shapes"),
        Effect("stage_channels", (128, 128), "shapes"),
        Effect("approximate_gelu", False, "output"),
        Effect("group_norm_epsilon", 1e-2, "output"),
        Effect("standardization", "variance", "output"),
        Effect("in_channels", 1, "shapes"),
        Effect("gates", True, "shapes"),
        Effect("kept", [{"mlp_hidden": 3}, {"attention_input": [0, 5]}], "shapes"),
    ),
    lambda images, w: hybrid_logits(images, w, stem_depths=(1, 1), depth=2, num_heads=2),
)

CASES = {"hybrid ViT": HYBRID}
