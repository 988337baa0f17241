"""The published configurations of CaiT."""

from keras_deit.models.cait import CaiT
from keras_deit.models.model_spec import ModelSpec, Result

_CODE = "github.com/facebookresearch/deit, cait_models.py"
_README = "github.com/facebookresearch/deit, README_cait.md"
_TABLE = "H. Touvron's thesis, tables 3.15 and 3.17"
_XXS = {"embed_dim": 192, "num_heads": 4}
_XS = {"embed_dim": 288, "num_heads": 6}
_S = {"embed_dim": 384, "num_heads": 8}
_M = {"embed_dim": 768, "num_heads": 16}

_SIZES = {
    # width, depth, initial LayerScale, drop path (thesis, table 3.16).
    # LayerScale is that of the code, where XXS36 has 1e-5 and the thesis 1e-6; the code lacks
    # XS36, S48 and M24.
    "xxs24": (_XXS, 24, 1e-5, 0.05),
    "xxs36": (_XXS, 36, 1e-5, 0.1),
    "xs24": (_XS, 24, 1e-5, 0.05),
    "xs36": (_XS, 36, 1e-6, 0.1),
    "s24": (_S, 24, 1e-5, 0.1),
    "s36": (_S, 36, 1e-6, 0.2),
    "s48": (_S, 48, 1e-6, 0.3),
    "m24": (_M, 24, 1e-5, 0.2),
    "m36": (_M, 36, 1e-6, 0.3),
    "m48": (_M, 48, 1e-6, 0.4),
}

_ROWS = (
    # size, image size, parameters, GMACs, published GMACs,
    #     top-1 without and with distillation, top-5 of the latter, the authors' file
    ("xxs24", 224, 11_956_264, 2.523, 2.5, 77.6, 78.4, None, "XXS24_224.pth"),
    ("xxs24", 384, 12_029_224, 9.599, 9.5, 80.4, 80.9, None, "XXS24_384.pth"),
    ("xxs36", 224, 17_299_720, 3.756, 3.8, 79.1, 79.7, None, "XXS36_224.pth"),
    ("xxs36", 384, 17_372_680, 14.31, 14.2, 81.8, 82.2, None, "XXS36_384.pth"),
    ("xs24", 224, 26_560_648, 5.390, 5.4, 81.8, 82.0, None, None),
    ("xs24", 384, 26_670_088, 19.24, 19.3, 83.8, 84.1, None, "XS24_384.pth"),
    ("xs36", 224, 38_557_432, 8.030, 8.1, 82.6, 82.9, None, None),
    ("xs36", 384, 38_666_872, 28.70, 28.8, 84.3, 84.8, None, None),
    ("s24", 224, 46_916_200, 9.327, 9.4, 82.7, 83.5, None, "S24_224.pth"),
    ("s24", 384, 47_062_120, 32.11, 32.2, 84.3, 85.1, 97.3, "S24_384.pth"),
    ("s36", 224, 68_220_712, 13.90, 13.9, 83.3, 84.0, None, None),
    ("s36", 384, 68_366_632, 47.91, 48.0, 85.0, 85.4, None, "S36_384.pth"),
    ("s48", 224, 89_525_224, 18.48, 18.6, 83.5, 83.9, None, None),
    ("s48", 384, 89_671_144, 63.71, 63.8, 85.1, 85.3, None, None),
    ("m24", 224, 185_850_088, 35.78, 36.0, 83.4, 84.7, None, None),
    ("m24", 384, 186_141_928, 115.9, 116.1, 84.5, 85.8, None, None),
    ("m36", 224, 270_929_512, 53.37, 53.7, 83.8, 85.1, None, None),
    ("m36", 384, 271_221_352, 172.9, 173.3, 84.9, 86.1, None, "M36_384.pth"),
    ("m36", 448, 271_381_096, 247.4, 247.8, None, 86.3, None, None),
    ("m48", 224, 356_008_936, 70.96, None, None, None, None, None),
    ("m48", 384, 356_300_776, 230.0, None, None, None, None, None),
    ("m48", 448, 356_460_520, 329.1, 329.6, None, 86.5, 97.7, "M48_448.pth"),
)  # fmt: skip


def _spec(size, image_size, parameters, gmacs, published_gmacs, *results):
    width, depth, layer_scale_init, drop_path = _SIZES[size]
    name = f"cait_{size}_{image_size}"
    in_code = size not in ("xs36", "s48", "m24")
    return ModelSpec(
        name=name,
        architecture=CaiT,
        config={
            "image_size": image_size,
            "patch_size": 16,
            "depth": depth,
            **width,
            "layer_scale_init": layer_scale_init,
        },
        parameters=parameters,
        gmacs=gmacs,
        published_gmacs=published_gmacs,
        results=_results(name, *results),
        crop_ratio=1.0,
        source=_CODE if in_code else "H. Touvron's thesis, table 3.16",
        published_drop_path=_drop_path(size, image_size, drop_path),
    )


def _drop_path(size, image_size, drop_path):
    """Published for 224, and for M48 at 448 (issue 108 of the repository)."""
    if image_size == 224:
        return drop_path
    return 0.3 if (size, image_size) == ("m48", 448) else None


def _results(name, top1, distilled_top1, distilled_top5, file):
    """The released weights first; they were distilled, into the class token alone."""
    plain = [] if top1 is None else [Result("1k", top1, None, _TABLE)]
    if distilled_top1 is None:
        return tuple(plain)
    source = _TABLE if distilled_top5 is None else _README
    files = () if file is None else (file, f"hf://timm/{name}.fb_dist_in1k")
    distilled = [Result("1k distilled", distilled_top1, distilled_top5, source, files)]
    return tuple(plain + distilled if file is None else distilled + plain)


CAIT_MODELS = tuple(_spec(*row) for row in _ROWS)
