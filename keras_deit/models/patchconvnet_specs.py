"""The published configurations of PatchConvNet."""

from keras_deit.models.model_spec import ModelSpec, Result
from keras_deit.models.patchconvnet import PatchConvNet

_CODE = "github.com/facebookresearch/deit, patchconvnet_models.py"
_README = "github.com/facebookresearch/deit, README_patchconvnet.md"
_1K, _21K = "1k", "21k → 1k"

_SIZES = {
    # width, depth, initial LayerScale, drop path (thesis, table 5.8).
    # S20, S36 and B36 are in the thesis only, which does not say how LayerScale starts: as in
    # the released models of their width.
    "s20": (384, 20, 1e-4, 0.0),
    "s36": (384, 36, 1e-4, 0.05),
    "s60": (384, 60, 1e-4, 0.15),
    "s120": (384, 120, 1e-6, 0.2),
    "b36": (768, 36, 1e-6, 0.2),
    "b60": (768, 60, 1e-6, 0.3),
    "b120": (768, 120, 1e-6, 0.4),
    "l60": (1024, 60, 1e-6, None),
    "l120": (1024, 120, 1e-6, None),
    "s60_multi": (384, 60, 1e-4, None),
}

_ROWS = (
    # size, image size, parameters, GMACs, published GMACs,
    #     (training, top-1, the authors' file or the thesis's table, None: README), ...
    ("s20", 224, 10_235_896, 1.637, None, (_1K, 78.7, "5.8")),
    ("s36", 224, 16_233_976, 2.574, None, (_1K, 80.7, "5.8")),
    ("s60", 224, 25_231_096, 3.979, 4.0,
        (_1K, 82.1, "s60_224_1k.pth"), (_21K, 83.5, "s60_224_21k.pth")),
    ("s60", 288, 25_231_096, 6.574, 6.6, (_21K, 84.4, None)),
    ("s60", 384, 25_231_096, 11.68, 11.8, (_21K, 84.9, "s60_384_21k.pth")),
    ("s60", 512, 25_231_096, 20.76, 20.9, (_21K, 85.4, "s60_512_21k.pth")),
    ("s120", 224, 47_723_896, 7.493, 7.5, (_1K, 83.2, "s120_224_1k.pth")),
    ("b36", 224, 63_699_976, 10.21, None, (_1K, 82.8, "5.8")),
    ("b60", 224, 99_388_936, 15.80, 15.8,
        (_1K, 83.5, "b60_224_1k.pth"), (_21K, 85.4, "b60_224_21k.pth")),
    ("b60", 288, 99_388_936, 26.11, 26.1, (_21K, 85.7, "5.2")),
    ("b60", 384, 99_388_936, 46.39, 46.5, (_21K, 86.5, "b60_384_21k.pth")),
    ("b120", 224, 188_611_336, 29.77, 29.9,
        (_1K, 84.1, "b120_224_1k.pth"), (_21K, 86.0, "b120_224_21k.pth")),
    ("b120", 288, 188_611_336, 49.19, 49.3, (_21K, 86.6, "5.2")),
    ("b120", 384, 188_611_336, 87.42, 87.7, (_21K, 86.9, "b120_384_21k.pth")),
    ("l60", 224, 176_009_576, 28.04, 28.1, (_21K, 85.6, "5.2")),
    ("l60", 288, 176_009_576, 46.33, 46.4, (_21K, 86.1, "5.2")),
    ("l60", 384, 176_009_576, 82.33, 82.5, (_21K, 86.4, "5.2")),
    ("l120", 224, 334_294_376, 52.85, 53.0, (_21K, 86.1, "5.2")),
    ("l120", 288, 334_294_376, 87.31, 87.5, (_21K, 86.6, "5.2")),
    ("l120", 384, 334_294_376, 155.2, 155.5, (_21K, 87.1, "5.2")),
    ("s60_multi", 224, 25_614_712, 5.308, 5.3,
        (_1K, 81.1, "s60_multi_scratch_1k.pth"),
        ("1k fine-tuned", 82.0, "s60_multi_finetune_1k.pth")),
)  # fmt: skip


def _spec(size, image_size, parameters, gmacs, published_gmacs, *results):
    embed_dim, depth, layer_scale_init, drop_path = _SIZES[size]
    config = {
        "image_size": image_size,
        "embed_dim": embed_dim,
        "depth": depth,
        "layer_scale_init": layer_scale_init,
    }
    if size.endswith("_multi"):
        config["token_per_class"] = True
    in_code = size not in ("s20", "s36", "b36")
    return ModelSpec(
        name=f"patchconvnet_{size}_{image_size}",
        architecture=PatchConvNet,
        config=config,
        parameters=parameters,
        gmacs=gmacs,
        published_gmacs=published_gmacs,
        results=tuple(_result(*result) for result in results),
        # Not stated by the authors: it is that of their evaluator at the time.
        crop_ratio=0.875,
        source=_CODE if in_code else "H. Touvron's thesis, table 5.8",
        published_drop_path=_drop_path(drop_path, image_size),
    )


def _drop_path(drop_path, image_size):
    """Of table 5.8; lowered by 0.1 for fine-tuning at a larger size (thesis, §5.2.3)."""
    if drop_path is None or image_size == 224:
        return drop_path
    return round(drop_path - 0.1, 2)


def _result(training, top1, origin):
    if origin is None:
        return Result(training, top1, None, _README)
    if origin.endswith(".pth"):
        return Result(training, top1, None, _README, (origin,))
    return Result(training, top1, None, f"H. Touvron's thesis, table {origin}")


PATCHCONVNET_MODELS = tuple(_spec(*row) for row in _ROWS)
