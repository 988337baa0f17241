"""The case of CViT."""

from cvit_reference import cvit_logits
from harness import Case, Effect

from keras_deit.models import CViT

CVIT = Case(
    CViT,
    {
        "image_size": (8, 16),
        "patch_size": 2,
        "embed_dim": 8,
        "depth": 1,
        "num_heads": 2,
        "stem_depths": (2, 1),
        "stem_channels": (4, 6),
    },
    (3, 8, 16, 3),
    (
        Effect("image_size", (8, 8), "shapes"),
        Effect("patch_size", 1, "shapes"),
        Effect("embed_dim", 6, "shapes"),
        Effect("depth", 2, "shapes"),
        Effect("num_heads", 4, "output"),
        Effect("mlp_ratio", 1.5, "shapes"),
        Effect("stem_depths", (1, 1), "shapes"),
        Effect("stem_channels", (4, 5), "shapes"),
        Effect("positions", "image", "shapes"),
        Effect("positions", "batch", "shapes"),
        Effect("drop_path_rate", 0.5, "training output", {"depth": 2}),
        Effect("num_classes", 3, "shapes"),
        Effect("in_channels", 1, "shapes"),
    ),
    lambda images, w: cvit_logits(images, w, stem_depths=(2, 1), side=2, depth=1, num_heads=2),
    canceled=("stem_0_conv_0/bias", "stem_0_conv_1/bias", "stem_1_conv_0/bias"),
)

CASES = {"CViT": CVIT}
