"""Cases of PiT and T2T for small data sets."""

from harness import Case, Effect
from pit_reference import pit_logits
from t2t_reference import t2t_logits

from keras_deit.models import SmallDataPiT, SmallDataT2T

PIT_FORM = {"depth": (1, 2), "num_heads": (2, 4), "grid": (6, 4)}
PIT = Case(
    SmallDataPiT,
    {
        "image_size": (12, 8),
        "patch_size": 2,
        "embed_dim": 6,
        "depth": (1, 2),
        "num_heads": (2, 4),
        "head_dim": 3,
        "num_classes": 5,
    },
    (3, 12, 8, 3),
    (
        Effect("image_size", (8, 16), "shapes"),
        Effect("patch_size", 4, "shapes"),
        Effect("embed_dim", 4, "shapes"),
        Effect("depth", (2, 1), "shapes"),
        Effect("num_heads", 2, "shapes"),
        Effect("head_dim", 4, "shapes"),
        Effect("mlp_ratio", 3.0, "shapes"),
        Effect("drop_path_rate", 0.5, "training output"),
        Effect("spt", True, "shapes"),
        Effect("lsa", True, "shapes"),
        Effect("num_classes", 4, "shapes"),
        Effect("dropout_rate", 0.5, "training output"),
        Effect("in_channels", 1, "shapes"),
    ),
    lambda images, w: pit_logits(images, w, **PIT_FORM),
)

T2T = Case(
    SmallDataT2T,
    {
        "image_size": (12, 8),
        "embed_dim": 8,
        "token_dim": 4,
        "depth": 2,
        "num_heads": 2,
        "num_classes": 5,
    },
    (3, 12, 8, 3),
    (
        Effect("image_size", (8, 16), "shapes"),
        Effect("embed_dim", 6, "shapes"),
        Effect("token_dim", 5, "shapes"),
        Effect("depth", 3, "shapes"),
        Effect("num_heads", 4, "output"),
        Effect("mlp_ratio", 3.0, "shapes"),
        Effect("soft_splits", 1, "shapes"),
        Effect("qkv_bias", True, "shapes"),
        Effect("qk_scale", 2.0, "output"),
        Effect("drop_path_rate", 0.5, "training output"),
        Effect("spt", True, "shapes"),
        Effect("lsa", True, "shapes"),
        Effect("num_classes", 4, "shapes"),
        Effect("dropout_rate", 0.5, "training output"),
        Effect("in_channels", 1, "shapes"),
    ),
    lambda images, w: t2t_logits(images, w, depth=2, num_heads=2),
)

CASES = {"PiT for small data": PIT, "T2T for small data": T2T}
