"""The published configurations of DeiT and distilled DeiT."""

from keras_deit.models.deit.model import DeiT
from keras_deit.models.registry import register_model
from keras_deit.models.spec import Result

_SOURCE = "github.com/facebookresearch/deit, README_deit.md"
_TABLE = "H. Touvron's thesis, table 3.5"
_TINY = {"embed_dim": 192, "num_heads": 3}
_SMALL = {"embed_dim": 384, "num_heads": 6}
_BASE = {"embed_dim": 768, "num_heads": 12}


def _register(name, image_size, top1, top5, sha256, real, v2, **values):
    """`sha256` is the beginning of the digest of the authors' file."""
    distilled = "_distilled_" in name
    files = (
        f"{name}-{sha256}.pth",
        f"hf://timm/{name}.fb_in1k",
        f"hf://facebook/{name.replace('_', '-')}",
    )
    training = "1k distilled" if distilled else "1k"
    register_model(
        name,
        DeiT,
        image_size=image_size,
        patch_size=16,
        depth=12,
        distilled=distilled,
        results=(Result(training, top1, top5, _SOURCE, files, real, v2, _TABLE),),
        crop_ratio=0.875,
        source=_SOURCE,
        **values,
    )


# fmt: off
_register(
    "deit_tiny_patch16_224", image_size=224, **_TINY,
    parameters=5_717_416, gmacs=1.254, published_gmacs=1.3,
    top1=72.202, top5=91.124, sha256="a1311bcf", real=80.1, v2=60.4,
)
_register(
    "deit_small_patch16_224", image_size=224, **_SMALL,
    parameters=22_050_664, gmacs=4.599, published_gmacs=4.6,
    top1=79.854, top5=94.968, sha256="cd65a155", real=85.7, v2=68.5,
)
_register(
    "deit_base_patch16_224", image_size=224, **_BASE,
    parameters=86_567_656, gmacs=17.56, published_gmacs=17.5,
    top1=81.846, top5=95.594, sha256="b5f2ef4d", real=86.7, v2=71.5,
)
_register(
    "deit_base_patch16_384", image_size=384, **_BASE,
    parameters=86_859_496, gmacs=55.48, published_gmacs=55.4,
    top1=82.890, top5=96.222, sha256="8de9b5d1", real=87.7, v2=72.4,
)
_register(
    "deit_tiny_distilled_patch16_224", image_size=224, **_TINY,
    parameters=5_910_800, gmacs=1.261,
    top1=74.476, top5=91.920, sha256="b40b3cf7", real=82.1, v2=62.9,
)
_register(
    "deit_small_distilled_patch16_224", image_size=224, **_SMALL,
    parameters=22_436_432, gmacs=4.624,
    top1=81.164, top5=95.376, sha256="649709d9", real=86.8, v2=70.0,
)
_register(
    "deit_base_distilled_patch16_224", image_size=224, **_BASE,
    parameters=87_338_192, gmacs=17.66,
    top1=83.372, top5=96.482, sha256="df68dfff", real=88.3, v2=73.2,
)
_register(
    "deit_base_distilled_patch16_384", image_size=384, **_BASE,
    parameters=87_630_032, gmacs=55.59, published_gmacs=55.5,
    top1=85.224, top5=97.186, sha256="d0272ac0", real=89.3, v2=75.2,
)
# fmt: on

# Deeper ones, with the best rate of stochastic depth for each (thesis, table 3.11, "adapted").
_DEEP = "H. Touvron's thesis, §3.5 and table 3.12"
for _depth, _parameters, _gmacs, _top1 in (
    (18, 32_697_448, 6.869, 80.7),
    (24, 43_344_232, 9.140, 81.0),
    (36, 64_637_800, 13.68, 81.9),
):
    register_model(
        f"deit_small_d{_depth}_patch16_224",
        DeiT,
        image_size=224,
        patch_size=16,
        depth=_depth,
        **_SMALL,
        parameters=_parameters,
        gmacs=_gmacs,
        results=(Result("1k", _top1, source=_DEEP),),
        crop_ratio=0.875,
        source=_DEEP,
    )
