"""The published configurations of DeiT III and of the parallel ViT.

Names that begin with deit3 are timm's; the others are those of the authors' code.
"""

from keras_deit.models.deit3 import DeiT3
from keras_deit.models.model_spec import ModelSpec, Result

_README = "github.com/facebookresearch/deit, README_revenge.md"
_CODE = "github.com/facebookresearch/deit, models_v2.py"
_THESIS = "Touvron, Architectures and Training for Visual Understanding (thesis, 2022)"

_TINY = {"patch_size": 16, "embed_dim": 192, "depth": 12, "num_heads": 3}
_SMALL = {"patch_size": 16, "embed_dim": 384, "depth": 12, "num_heads": 6}
_MEDIUM = {"patch_size": 16, "embed_dim": 512, "depth": 12, "num_heads": 8}
_BASE = {"patch_size": 16, "embed_dim": 768, "depth": 12, "num_heads": 12}
_LARGE = {"patch_size": 16, "embed_dim": 1024, "depth": 24, "num_heads": 16}
_HUGE = {"patch_size": 14, "embed_dim": 1280, "depth": 32, "num_heads": 16}

_RELEASED = (
    # name, image size, sizes, parameters, GMACs, published GMACs, drop path of the 1k training,
    #     top-1 trained on 1k, top-1 trained on 21k and then 1k
    ("deit3_small_patch16_224", 224, _SMALL, 22_059_496, 4.599, 4.6, 0.05, 81.4, 83.1),
    ("deit3_small_patch16_384", 384, _SMALL, 22_205_416, 15.49, 15.5, 0.0, 83.4, 84.8),
    ("deit3_medium_patch16_224", 224, _MEDIUM, 38_849_512, 7.991, 8.0, None, 83.0, 84.5),
    ("deit3_base_patch16_224", 224, _BASE, 86_585_320, 17.56, 17.5, 0.2, 83.8, 85.7),
    ("deit3_base_patch16_384", 384, _BASE, 86_877_160, 55.48, 55.5, 0.15, 85.0, 86.7),
    ("deit3_large_patch16_224", 224, _LARGE, 304_374_760, 61.55, 61.6, 0.45, 84.9, 87.0),
    ("deit3_large_patch16_384", 384, _LARGE, 304_763_880, 191.1, 191.2, 0.4, 85.8, 87.7),
    ("deit3_huge_patch14_224", 224, _HUGE, 632_126_440, 167.3, 167.4, 0.55, 85.2, 87.2),
)

# README and the authors' code name different files of the huge model.
_HUGE_FILES = {
    "1k": ("deit_3_huge_224_1k.pth", "deit_3_huge_224_1k_v1.pth"),
    "21k": ("deit_3_huge_224_21k_v1.pth",),
}

_PRETRAINING = (
    # The sizes that the models of 224 and 384 are pre-trained at.
    # name, image size, sizes, parameters, GMACs, drop path, top-1 at its end by the authors' log
    ("deit3_base_patch16_192", 192, _BASE, 86_545_384, 12.79, 0.2, 82.82),
    ("deit3_large_patch16_192", 192, _LARGE, 304_321_512, 44.94, 0.45, 84.024),
    # At 160, the log says: the same patches, and six pixels that no patch has.
    ("deit3_huge_patch14_154", 154, _HUGE, 631_953_640, 78.07, 0.6, 83.484),
    # For 21k classes only.
    ("deit3_huge_patch14_126", 126, _HUGE, 631_902_440, 52.20, 0.5, None),
)

_LAYER_SCALE, _NO_LAYER_SCALE = {"layer_scale_init": 1e-4}, {"layer_scale_init": None}
_HUGE_52 = {**_HUGE, "depth": 52}
_HUGE_26X2 = {**_HUGE, "depth": 26, "branches": 2}
_GIANT_40 = {"patch_size": 14, "embed_dim": 1408, "depth": 40, "num_heads": 16}
_GIANT_48 = {"patch_size": 14, "embed_dim": 1664, "depth": 48, "num_heads": 16}
_SMALL_36, _SMALL_18X2 = {**_SMALL, "depth": 36}, {**_SMALL, "depth": 18, "branches": 2}
_BASE_36, _BASE_18X2 = {**_BASE, "depth": 36}, {**_BASE, "depth": 18, "branches": 2}

_UNRELEASED = (
    # name, sizes, LayerScale, parameters, GMACs; all at 224
    ("deit_huge_patch14_52_LS", _HUGE_52, _LAYER_SCALE, 1_025_726_440, 271.7),
    ("deit_huge_patch14_26x2_LS", _HUGE_26X2, _LAYER_SCALE, 1_025_726_440, 271.7),
    ("deit_giant_40_patch14_LS", _GIANT_40, _LAYER_SCALE, 955_030_504, 252.2),
    ("deit_Giant_48_patch14_LS", _GIANT_48, _LAYER_SCALE, 1_599_158_248, 420.7),
    ("deit_small_patch16_36_LS", _SMALL_36, _LAYER_SCALE, 64_665_064, 13.68),
    ("deit_small_patch16_36", _SMALL_36, _NO_LAYER_SCALE, 64_637_416, 13.68),
    ("deit_small_patch16_18x2_LS", _SMALL_18X2, _LAYER_SCALE, 64_665_064, 13.68),
    ("deit_small_patch16_18x2", _SMALL_18X2, _NO_LAYER_SCALE, 64_637_416, 13.68),
    ("deit_base_patch16_36x1_LS", _BASE_36, _LAYER_SCALE, 256_731_112, 52.46),
    ("deit_base_patch16_36x1", _BASE_36, _NO_LAYER_SCALE, 256_675_816, 52.46),
    ("deit_base_patch16_18x2_LS", _BASE_18X2, _LAYER_SCALE, 256_731_112, 52.46),
    ("deit_base_patch16_18x2", _BASE_18X2, _NO_LAYER_SCALE, 256_675_816, 52.46),
)

_UNRELEASED_RESULTS = {
    "deit_huge_patch14_52_LS": (
        Result("1k", 84.9, None, f"{_THESIS}, table 6.6: 400 epochs at 126, then 20 at 224"),
    ),
}


def _spec(name, image_size, values, parameters, gmacs, **figures):
    return ModelSpec(
        name=name,
        architecture=DeiT3,
        config={"image_size": image_size, **_LAYER_SCALE, **values},
        parameters=parameters,
        gmacs=gmacs,
        crop_ratio=1.0,
        **{"published_gmacs": None, "source": _README, "results": (), **figures},
    )


def _files(name, image_size, data, timm_tag):
    size = name.split("_")[1]
    authors = (f"deit_3_{size}_{image_size}_{data}.pth",)
    if size == "huge":
        authors = _HUGE_FILES[data]
    return (*authors, f"hf://timm/{name}.{timm_tag}")


def _released(name, image_size, sizes, parameters, gmacs, published, drop_path, top1, top1_21k):
    files = _files(name, image_size, "1k", "fb_in1k")
    files_21k = _files(name, image_size, "21k", "fb_in22k_ft_in1k")
    return _spec(
        name,
        image_size,
        sizes,
        parameters,
        gmacs,
        published_gmacs=published,
        results=(
            Result("1k", top1, None, _README, files),
            Result("21k → 1k", top1_21k, None, _README, files_21k),
        ),
        published_drop_path=drop_path,
    )


def _pretraining(name, image_size, sizes, parameters, gmacs, drop_path, top1):
    results = (Result("1k", top1, None, f"{_README}, training log"),) if top1 else ()
    return _spec(
        name,
        image_size,
        sizes,
        parameters,
        gmacs,
        results=results,
        published_drop_path=drop_path,
    )


def _unreleased(name, sizes, layer_scale, parameters, gmacs):
    return _spec(
        name,
        224,
        {**sizes, **layer_scale},
        parameters,
        gmacs,
        results=_UNRELEASED_RESULTS.get(name, ()),
        source=_CODE,
    )


_TINY_SPEC = _spec(
    "deit3_tiny_patch16_224",
    224,
    _TINY,
    5_721_832,
    1.254,
    published_gmacs=1.3,
    source=_CODE,
    published_drop_path=0.0,
)

DEIT3_MODELS = (
    _TINY_SPEC,
    *(_released(*row) for row in _RELEASED),
    *(_pretraining(*row) for row in _PRETRAINING),
    *(_unreleased(*row) for row in _UNRELEASED),
)
