"""The published configurations of RegNetY that DeiT was taught by."""

from keras_deit.models.registry import register_model
from keras_deit.models.regnet.model import RegNet
from keras_deit.models.spec import Result

_TIMM = "github.com/huggingface/pytorch-image-models, timm/models/regnet.py"
_DEIT = "DeiT, table 2"
_TORCHVISION = "github.com/pytorch/vision, torchvision/models/regnet.py"


def _register(name, widths, depth, group_width, *results, **facts):
    register_model(
        name,
        RegNet,
        image_size=224,
        widths=widths,
        depth=depth,
        group_width=group_width,
        results=results,
        source=_TIMM,
        **facts,
    )


# The teachers of DeiT, which were trained by its recipe. The authors released the largest alone.
# fmt: off
_register(
    "regnety_040", (128, 192, 512, 1088), (2, 6, 12, 2), 64,
    Result("1k", 80.0, None, _DEIT),
    parameters=20_646_656, gmacs=3.973, published_gmacs=4.0,
)
_register(
    "regnety_080", (168, 448, 896, 2016), (2, 4, 10, 1), 56,
    Result("1k", 81.7, None, _DEIT),
    parameters=39_180_068, gmacs=7.963, published_gmacs=8.0,
)
# torchvision rounds the first width up instead of down.
_register(
    "regnety_080_tv", (224, 448, 896, 2016), (2, 4, 10, 1), 56,
    Result(
        "1k", 82.828, 96.330, _TORCHVISION,
        ("regnet_y_8gf-dc2b1b54.pth", "hf://timm/regnety_080_tv.tv2_in1k"),
    ),
    parameters=39_381_472, gmacs=8.473,
)
_register(
    "regnety_120", (224, 448, 896, 2240), (2, 5, 11, 1), 112,
    Result("1k", 82.4, None, _DEIT),
    parameters=51_822_544, gmacs=12.09, published_gmacs=12.1,
)
_register(
    "regnety_160", (224, 448, 1232, 3024), (2, 4, 11, 1), 112,
    Result(
        "1k", 82.9, None, _DEIT,
        ("regnety_160-a5fe301d.pth", "hf://timm/regnety_160.deit_in1k"),
    ),
    Result(
        "1k, torchvision", 82.886, 96.328, _TORCHVISION,
        ("regnet_y_16gf-3e4a00f9.pth", "hf://timm/regnety_160.tv2_in1k"),
    ),
    parameters=83_590_140, gmacs=15.91, published_gmacs=15.9,
)
# fmt: on
