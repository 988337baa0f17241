"""The published configurations of DeiT III and of the parallel ViT.

Names that begin with deit3 are timm's; the others are those of the authors' code.
"""

from keras_deit.models.deit3.model import DeiT3
from keras_deit.models.registry import register_model
from keras_deit.models.spec import TIMM_RESULTS, Result

_README = "github.com/facebookresearch/deit, README_revenge.md"
_CODE = "github.com/facebookresearch/deit, models_v2.py"
_THESIS = "Touvron, Architectures and Training for Visual Understanding (thesis, 2022)"

_TINY = {"patch_size": 16, "embed_dim": 192, "depth": 12, "num_heads": 3}
_SMALL = {"patch_size": 16, "embed_dim": 384, "depth": 12, "num_heads": 6}
_MEDIUM = {"patch_size": 16, "embed_dim": 512, "depth": 12, "num_heads": 8}
_BASE = {"patch_size": 16, "embed_dim": 768, "depth": 12, "num_heads": 12}
_LARGE = {"patch_size": 16, "embed_dim": 1024, "depth": 24, "num_heads": 16}
_HUGE = {"patch_size": 14, "embed_dim": 1280, "depth": 32, "num_heads": 16}

# The README and the authors' code name different files of the huge model.
_HUGE_FILES = {
    "1k": ("deit_3_huge_224_1k.pth", "deit_3_huge_224_1k_v1.pth"),
    "21k": ("deit_3_huge_224_21k_v1.pth",),
}

# ReaL and V2 of the weights that were trained on 1k, and of those that were pre-trained on 21k.
_FURTHER = {
    "small_224": ((87.002, 70.77), (88.343, 73.85)),
    "small_384": ((88.308, 73.01), (89.372, 75.13)),
    "medium_224": ((87.822, 72.5), (88.921, 74.68)),
    "base_224": ((88.261, 73.42), (89.472, 76.53)),
    "base_384": ((88.94, 74.76), (89.888, 77.98)),
    "large_224": ((88.763, 75.08), (90.008, 78.64)),
    "large_384": ((89.692, 76.73), (90.247, 79.22)),
    "huge_224": ((89.212, 75.8), (90.215, 79.21)),
}


def _register(name, image_size=224, source=_README, layer_scale_init=1e-4, **values):
    register_model(
        name,
        DeiT3,
        image_size=image_size,
        layer_scale_init=layer_scale_init,
        crop_ratio=1.0,
        source=source,
        **values,
    )


def _register_released(name, image_size, top1, top1_21k, **values):
    """`top1_21k` is that of pre-training on 21k and fine-tuning on 1k."""
    files = _files(name, image_size, "1k", "fb_in1k")
    files_21k = _files(name, image_size, "21k", "fb_in22k_ft_in1k")
    further, further_21k = _FURTHER[f"{name.split('_')[1]}_{image_size}"]
    results = (
        Result("1k", top1, None, _README, files, *further, TIMM_RESULTS),
        Result("21k → 1k", top1_21k, None, _README, files_21k, *further_21k, TIMM_RESULTS),
    )
    _register(name, image_size, results=results, **values)


def _files(name, image_size, data, timm_tag):
    size = name.split("_")[1]
    authors = _HUGE_FILES[data] if size == "huge" else (f"deit_3_{size}_{image_size}_{data}.pth",)
    return (*authors, f"hf://timm/{name}.{timm_tag}")


def _log(top1):
    """The result at the end of the authors' log."""
    return (Result("1k", top1, source=f"{_README}, training log"),)


# fmt: off
_register(
    "deit3_tiny_patch16_224", **_TINY, source=_CODE,
    parameters=5_721_832, gmacs=1.254, published_gmacs=1.3,
)
_register_released(
    "deit3_small_patch16_224", 224, **_SMALL, top1=81.4, top1_21k=83.1,
    parameters=22_059_496, gmacs=4.599, published_gmacs=4.6,
)
_register_released(
    "deit3_small_patch16_384", 384, **_SMALL, top1=83.4, top1_21k=84.8,
    parameters=22_205_416, gmacs=15.49, published_gmacs=15.5,
)
_register_released(
    "deit3_medium_patch16_224", 224, **_MEDIUM, top1=83.0, top1_21k=84.5,
    parameters=38_849_512, gmacs=7.991, published_gmacs=8.0,
)
_register_released(
    "deit3_base_patch16_224", 224, **_BASE, top1=83.8, top1_21k=85.7,
    parameters=86_585_320, gmacs=17.56, published_gmacs=17.5,
)
_register_released(
    "deit3_base_patch16_384", 384, **_BASE, top1=85.0, top1_21k=86.7,
    parameters=86_877_160, gmacs=55.48, published_gmacs=55.5,
)
_register_released(
    "deit3_large_patch16_224", 224, **_LARGE, top1=84.9, top1_21k=87.0,
    parameters=304_374_760, gmacs=61.55, published_gmacs=61.6,
)
_register_released(
    "deit3_large_patch16_384", 384, **_LARGE, top1=85.8, top1_21k=87.7,
    parameters=304_763_880, gmacs=191.1, published_gmacs=191.2,
)
_register_released(
    "deit3_huge_patch14_224", 224, **_HUGE, top1=85.2, top1_21k=87.2,
    parameters=632_126_440, gmacs=167.3, published_gmacs=167.4,
)

# The sizes that the models of 224 and 384 are pre-trained at.
_register(
    "deit3_base_patch16_192", 192, **_BASE, results=_log(82.82),
    parameters=86_545_384, gmacs=12.79,
)
_register(
    "deit3_large_patch16_192", 192, **_LARGE, results=_log(84.024),
    parameters=304_321_512, gmacs=44.94,
)
# The log says 160: the same patches, and six pixels that no patch has.
_register(
    "deit3_huge_patch14_154", 154, **_HUGE, results=_log(83.484),
    parameters=631_953_640, gmacs=78.07,
)
# For 21k classes only.
_register(
    "deit3_huge_patch14_126", 126, **_HUGE,
    parameters=631_902_440, gmacs=52.20,
)

# Not released.
_register(
    "deit_huge_patch14_52_LS", **{**_HUGE, "depth": 52}, source=_CODE,
    parameters=1_025_726_440, gmacs=271.7,
    results=(
        Result("1k", 84.9, None, f"{_THESIS}, table 6.6: 400 epochs at 126, then 20 at 224"),
    ),
)
_register(
    "deit_huge_patch14_26x2_LS", **{**_HUGE, "depth": 26, "branches": 2}, source=_CODE,
    parameters=1_025_726_440, gmacs=271.7,
)
_register(
    "deit_giant_40_patch14_LS", patch_size=14, embed_dim=1408, depth=40, num_heads=16, source=_CODE,
    parameters=955_030_504, gmacs=252.2,
)
_register(
    "deit_Giant_48_patch14_LS", patch_size=14, embed_dim=1664, depth=48, num_heads=16, source=_CODE,
    parameters=1_599_158_248, gmacs=420.7,
)
_register(
    "deit_small_patch16_36_LS", **{**_SMALL, "depth": 36}, source=_CODE,
    parameters=64_665_064, gmacs=13.68,
)
_register(
    "deit_small_patch16_36", **{**_SMALL, "depth": 36}, layer_scale_init=None, source=_CODE,
    parameters=64_637_416, gmacs=13.68,
)
_register(
    "deit_small_patch16_18x2_LS", **{**_SMALL, "depth": 18, "branches": 2}, source=_CODE,
    parameters=64_665_064, gmacs=13.68,
)
_register(
    "deit_small_patch16_18x2", **{**_SMALL, "depth": 18, "branches": 2}, layer_scale_init=None,
    source=_CODE, parameters=64_637_416, gmacs=13.68,
)
_register(
    "deit_base_patch16_36x1_LS", **{**_BASE, "depth": 36}, source=_CODE,
    parameters=256_731_112, gmacs=52.46,
)
_register(
    "deit_base_patch16_36x1", **{**_BASE, "depth": 36}, layer_scale_init=None, source=_CODE,
    parameters=256_675_816, gmacs=52.46,
)
_register(
    "deit_base_patch16_18x2_LS", **{**_BASE, "depth": 18, "branches": 2}, source=_CODE,
    parameters=256_731_112, gmacs=52.46,
)
_register(
    "deit_base_patch16_18x2", **{**_BASE, "depth": 18, "branches": 2}, layer_scale_init=None,
    source=_CODE, parameters=256_675_816, gmacs=52.46,
)
# fmt: on
