"""The published configurations of CaiT."""

from keras_deit.models.cait.model import CaiT
from keras_deit.models.registry import register_model
from keras_deit.models.spec import TIMM_RESULTS, Result

_CODE = "github.com/facebookresearch/deit, cait_models.py"
_README = "github.com/facebookresearch/deit, README_cait.md"
_TABLE = "H. Touvron's thesis, tables 3.15 and 3.17"
_XXS = {"embed_dim": 192, "num_heads": 4}
_XS = {"embed_dim": 288, "num_heads": 6}
_S = {"embed_dim": 384, "num_heads": 8}
_M = {"embed_dim": 768, "num_heads": 16}

# LayerScale is that of the code, where XXS36 has 1e-5 and the thesis (table 3.16) 1e-6. XS36, S48
# and M24 are in the thesis only.
_SIZES = {
    "xxs24": {**_XXS, "depth": 24, "layer_scale_init": 1e-5},
    "xxs36": {**_XXS, "depth": 36, "layer_scale_init": 1e-5},
    "xs24": {**_XS, "depth": 24, "layer_scale_init": 1e-5},
    "xs36": {**_XS, "depth": 36, "layer_scale_init": 1e-6},
    "s24": {**_S, "depth": 24, "layer_scale_init": 1e-5},
    "s36": {**_S, "depth": 36, "layer_scale_init": 1e-6},
    "s48": {**_S, "depth": 48, "layer_scale_init": 1e-6},
    "m24": {**_M, "depth": 24, "layer_scale_init": 1e-5},
    "m36": {**_M, "depth": 36, "layer_scale_init": 1e-6},
    "m48": {**_M, "depth": 48, "layer_scale_init": 1e-6},
}
# ReaL and V2 of the released weights.
_FURTHER = {
    "xxs24_224": (85.24, 67.29),
    "xxs24_384": (87.414, 70.55),
    "xxs36_224": (86.323, 68.37),
    "xxs36_384": (88.161, 72.14),
    "xs24_384": (89.169, 74.11),
    "s24_224": (88.447, 73.01),
    "s24_384": (89.51, 75.38),
    "s36_384": (89.829, 76.01),
    "m36_384": (90.049, 76.37),
    "m48_448": (90.181, 76.84),
}
_THESIS_ONLY = ("xs36", "s48", "m24")


def _register(
    size, image_size, top1=None, distilled_top1=None, distilled_top5=None, file=None, **facts
):
    """The released weights were distilled, into the class token alone."""
    name = f"cait_{size}_{image_size}"
    plain = (Result("1k", top1, source=_TABLE),) if top1 else ()
    source = _README if distilled_top5 else _TABLE
    files = (file, f"hf://timm/{name}.fb_dist_in1k") if file else ()
    further = (*_FURTHER[f"{size}_{image_size}"], TIMM_RESULTS) if file else ()
    distilled = (
        (Result("1k distilled", distilled_top1, distilled_top5, source, files, *further),)
        if distilled_top1
        else ()
    )
    register_model(
        name,
        CaiT,
        image_size=image_size,
        patch_size=16,
        **_SIZES[size],
        results=distilled + plain if file else plain + distilled,
        crop_ratio=1.0,
        source="H. Touvron's thesis, table 3.16" if size in _THESIS_ONLY else _CODE,
        **facts,
    )


# fmt: off
_register(
    "xxs24", 224, parameters=11_956_264, gmacs=2.523, published_gmacs=2.5,
    top1=77.6, distilled_top1=78.4, file="XXS24_224.pth",
)
_register(
    "xxs24", 384, parameters=12_029_224, gmacs=9.599, published_gmacs=9.5,
    top1=80.4, distilled_top1=80.9, file="XXS24_384.pth",
)
_register(
    "xxs36", 224, parameters=17_299_720, gmacs=3.756, published_gmacs=3.8,
    top1=79.1, distilled_top1=79.7, file="XXS36_224.pth",
)
_register(
    "xxs36", 384, parameters=17_372_680, gmacs=14.31, published_gmacs=14.2,
    top1=81.8, distilled_top1=82.2, file="XXS36_384.pth",
)
_register(
    "xs24", 224, parameters=26_560_648, gmacs=5.39, published_gmacs=5.4,
    top1=81.8, distilled_top1=82.0,
)
_register(
    "xs24", 384, parameters=26_670_088, gmacs=19.24, published_gmacs=19.3,
    top1=83.8, distilled_top1=84.1, file="XS24_384.pth",
)
_register(
    "xs36", 224, parameters=38_557_432, gmacs=8.03, published_gmacs=8.1,
    top1=82.6, distilled_top1=82.9,
)
_register(
    "xs36", 384, parameters=38_666_872, gmacs=28.7, published_gmacs=28.8,
    top1=84.3, distilled_top1=84.8,
)
_register(
    "s24", 224, parameters=46_916_200, gmacs=9.327, published_gmacs=9.4,
    top1=82.7, distilled_top1=83.5, file="S24_224.pth",
)
_register(
    "s24", 384, parameters=47_062_120, gmacs=32.11, published_gmacs=32.2,
    top1=84.3, distilled_top1=85.1, distilled_top5=97.3, file="S24_384.pth",
)
_register(
    "s36", 224, parameters=68_220_712, gmacs=13.9, published_gmacs=13.9,
    top1=83.3, distilled_top1=84.0,
)
_register(
    "s36", 384, parameters=68_366_632, gmacs=47.91, published_gmacs=48.0,
    top1=85.0, distilled_top1=85.4, file="S36_384.pth",
)
_register(
    "s48", 224, parameters=89_525_224, gmacs=18.48, published_gmacs=18.6,
    top1=83.5, distilled_top1=83.9,
)
_register(
    "s48", 384, parameters=89_671_144, gmacs=63.71, published_gmacs=63.8,
    top1=85.1, distilled_top1=85.3,
)
_register(
    "m24", 224, parameters=185_850_088, gmacs=35.78, published_gmacs=36.0,
    top1=83.4, distilled_top1=84.7,
)
_register(
    "m24", 384, parameters=186_141_928, gmacs=115.9, published_gmacs=116.1,
    top1=84.5, distilled_top1=85.8,
)
_register(
    "m36", 224, parameters=270_929_512, gmacs=53.37, published_gmacs=53.7,
    top1=83.8, distilled_top1=85.1,
)
_register(
    "m36", 384, parameters=271_221_352, gmacs=172.9, published_gmacs=173.3,
    top1=84.9, distilled_top1=86.1, file="M36_384.pth",
)
_register(
    "m36", 448, parameters=271_381_096, gmacs=247.4, published_gmacs=247.8,
    distilled_top1=86.3,
)
_register(
    "m48", 224, parameters=356_008_936, gmacs=70.96,
)
_register(
    "m48", 384, parameters=356_300_776, gmacs=230.0,
)
_register(
    "m48", 448, parameters=356_460_520, gmacs=329.1, published_gmacs=329.6,
    distilled_top1=86.5, distilled_top5=97.7, file="M48_448.pth",
)
# fmt: on
