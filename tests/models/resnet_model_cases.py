"""The case of ResNet."""

from harness import Case, Effect
from regnet_reference import resnet_logits

from keras_deit.models import ResNetClassifier

RESNET = Case(
    ResNetClassifier,
    {"image_size": (17, 16), "stem_width": 4, "depth": (1, 2), "num_classes": 5},
    (3, 17, 16, 3),
    (
        Effect("image_size", (16, 24), "output"),
        Effect("stem_width", 6, "shapes"),
        Effect("depth", (1, 1), "shapes"),
        Effect("drop_path_rate", 0.5, "training output"),
        Effect("num_classes", 4, "shapes"),
        Effect("in_channels", 1, "shapes"),
    ),
    lambda images, w: resnet_logits(images, w, depth=(1, 2)),
    # Its convolutions have no bias, but with batch normalization training computes something else.
    canceled=("conv/bias",),
)

CASES = {"ResNet": RESNET}
