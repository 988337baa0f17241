"""The case of RegNet."""

from harness import Case, Effect
from regnet_reference import regnet_logits

from keras_deit.models import RegNet

REGNET = Case(
    RegNet,
    {
        "image_size": (17, 16),
        "widths": (4, 8),
        "depth": (1, 2),
        "group_width": 4,
        "stem_width": 4,
        "squeeze_ratio": 1.0,
        "num_classes": 5,
    },
    (3, 17, 16, 3),
    (
        Effect("image_size", (16, 24), "output"),
        Effect("widths", (8, 8), "shapes"),
        Effect("depth", (1, 1), "shapes"),
        Effect("group_width", 2, "shapes"),
        Effect("stem_width", 6, "shapes"),
        Effect("squeeze_ratio", 0.5, "shapes"),
        Effect("drop_path_rate", 0.5, "training output"),
        Effect("num_classes", 4, "shapes"),
        Effect("in_channels", 1, "shapes"),
    ),
    lambda images, w: regnet_logits(images, w, depth=(1, 2)),
    # Its convolutions have no bias, but with batch normalization training computes something else.
    canceled=("conv/bias",),
)

CASES = {"RegNet": REGNET}
