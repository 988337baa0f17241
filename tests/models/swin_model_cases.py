"""Cases of Swin for small data sets."""

from harness import Case, Effect
from swin_reference import swin_logits

from keras_deit.models import SmallDataSwin

# Grids of 4×8 and 2×4 tokens: the first has two rows of four windows, the second one row of two,
# which is not shifted from row to row.
STAGES = {"grid": (4, 8), "depth": (2, 2), "num_heads": (2, 4), "window_size": 2}

SWIN = Case(
    SmallDataSwin,
    {
        "image_size": (8, 16),
        "embed_dim": 8,
        "depth": (2, 2),
        "num_heads": (2, 4),
        "window_size": 2,
        "num_classes": 5,
    },
    (3, 8, 16, 3),
    (
        Effect("image_size", (16, 16), "shapes"),
        Effect("patch_size", 4, "shapes"),
        Effect("embed_dim", 12, "shapes"),
        Effect("depth", (1, 2), "shapes"),
        Effect("num_heads", (4, 4), "shapes"),
        Effect("window_size", 4, "shapes"),
        Effect("mlp_ratio", 3.0, "shapes"),
        Effect("qkv_bias", False, "shapes"),
        Effect("qk_scale", 0.2, "output"),
        Effect("patch_norm", False, "shapes"),
        Effect("drop_path_rate", 0.5, "training output"),
        Effect("spt", True, "shapes"),
        Effect("lsa", True, "shapes"),
        Effect("num_classes", 4, "shapes"),
        Effect("dropout_rate", 0.5, "training output"),
        Effect("attention_dropout_rate", 0.5, "training output"),
        Effect("in_channels", 1, "shapes"),
    ),
    lambda images, w: swin_logits(images, w, **STAGES),
)

CASES = {"SmallDataSwin": SWIN}
