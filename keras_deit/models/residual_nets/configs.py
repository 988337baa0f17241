"""The published configurations of ResNets of bottlenecks (He et al., 2016, table 1)."""

from keras_deit.models.registry import register_model
from keras_deit.models.residual_nets.model import ResNetClassifier
from keras_deit.models.spec import Result

_TORCHVISION = "github.com/pytorch/vision, torchvision/models/resnet.py"


def _register(name, depth, top1, top5, file, **facts):
    register_model(
        name,
        ResNetClassifier,
        image_size=224,
        depth=depth,
        results=(Result("1k", top1, top5, _TORCHVISION, (file,)),),
        interpolation="bilinear",
        source=_TORCHVISION,
        **facts,
    )


# fmt: off
_register(
    "resnet50_224", (3, 4, 6, 3), 76.130, 92.862, "resnet50-0676ba61.pth",
    parameters=25_557_032, gmacs=4.089,
)
_register(
    "resnet101_224", (3, 4, 23, 3), 77.374, 93.546, "resnet101-63fe2227.pth",
    parameters=44_549_160, gmacs=7.801,
)
_register(
    "resnet152_224", (3, 8, 36, 3), 78.312, 94.046, "resnet152-394f9c45.pth",
    parameters=60_192_808, gmacs=11.51,
)
# fmt: on
