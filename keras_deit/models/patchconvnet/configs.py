"""The published configurations of PatchConvNet."""

from keras_deit.models.patchconvnet.model import PatchConvNet
from keras_deit.models.registry import register_model
from keras_deit.models.spec import Result

_CODE = "github.com/facebookresearch/deit, patchconvnet_models.py"
_README = "github.com/facebookresearch/deit, README_patchconvnet.md"
_THESIS = "H. Touvron's thesis"

# S20, S36 and B36 are in the thesis only, which does not say how LayerScale starts: as in the
# released models of their width.
_SIZES = {
    "s20": {"embed_dim": 384, "depth": 20, "layer_scale_init": 1e-4},
    "s36": {"embed_dim": 384, "depth": 36, "layer_scale_init": 1e-4},
    "s60": {"embed_dim": 384, "depth": 60, "layer_scale_init": 1e-4},
    "s120": {"embed_dim": 384, "depth": 120, "layer_scale_init": 1e-6},
    "b36": {"embed_dim": 768, "depth": 36, "layer_scale_init": 1e-6},
    "b60": {"embed_dim": 768, "depth": 60, "layer_scale_init": 1e-6},
    "b120": {"embed_dim": 768, "depth": 120, "layer_scale_init": 1e-6},
    "l60": {"embed_dim": 1024, "depth": 60, "layer_scale_init": 1e-6},
    "l120": {"embed_dim": 1024, "depth": 120, "layer_scale_init": 1e-6},
    "s60_multi": {
        "embed_dim": 384,
        "depth": 60,
        "layer_scale_init": 1e-4,
        "token_per_class": True,
    },
}
_THESIS_ONLY = ("s20", "s36", "b36")


def _register(size, image_size, *results, **facts):
    register_model(
        f"patchconvnet_{size}_{image_size}",
        PatchConvNet,
        image_size=image_size,
        **_SIZES[size],
        results=results,
        # The authors do not state it; it is that of their evaluation code at the time.
        crop_ratio=0.875,
        source=f"{_THESIS}, table 5.8" if size in _THESIS_ONLY else _CODE,
        **facts,
    )


def _result(top1, training="1k", file=None, table=None, v2=None):
    """The source is the README, or a table of the thesis."""
    source = f"{_THESIS}, table {table}" if table else _README
    further = {"v2": v2, "further_source": f"{_THESIS}, table 5.1"} if v2 else {}
    return Result(training, top1, None, source, (file,) if file else (), **further)


def _result_21k(top1, file=None, table=None):
    return _result(top1, "21k → 1k", file, table)


# fmt: off
_register(
    "s20", 224, _result(78.7, table="5.8"),
    parameters=10_235_896, gmacs=1.637,
)
_register(
    "s36", 224, _result(80.7, table="5.8"),
    parameters=16_233_976, gmacs=2.574,
)
_register(
    "s60", 224,
    _result(82.1, file="s60_224_1k.pth", v2=71.0), _result_21k(83.5, "s60_224_21k.pth"),
    parameters=25_231_096, gmacs=3.979, published_gmacs=4.0,
)
_register(
    "s60", 288, _result_21k(84.4),
    parameters=25_231_096, gmacs=6.574, published_gmacs=6.6,
)
_register(
    "s60", 384, _result_21k(84.9, "s60_384_21k.pth"),
    parameters=25_231_096, gmacs=11.68, published_gmacs=11.8,
)
_register(
    "s60", 512, _result_21k(85.4, "s60_512_21k.pth"),
    parameters=25_231_096, gmacs=20.76, published_gmacs=20.9,
)
_register(
    "s120", 224, _result(83.2, file="s120_224_1k.pth", v2=72.5),
    parameters=47_723_896, gmacs=7.493, published_gmacs=7.5,
)
_register(
    "b36", 224, _result(82.8, table="5.8"),
    parameters=63_699_976, gmacs=10.21,
)
_register(
    "b60", 224,
    _result(83.5, file="b60_224_1k.pth", v2=72.6), _result_21k(85.4, "b60_224_21k.pth"),
    parameters=99_388_936, gmacs=15.80, published_gmacs=15.8,
)
_register(
    "b60", 288, _result_21k(85.7, table="5.2"),
    parameters=99_388_936, gmacs=26.11, published_gmacs=26.1,
)
_register(
    "b60", 384, _result_21k(86.5, "b60_384_21k.pth"),
    parameters=99_388_936, gmacs=46.39, published_gmacs=46.5,
)
_register(
    "b120", 224,
    _result(84.1, file="b120_224_1k.pth", v2=73.9), _result_21k(86.0, "b120_224_21k.pth"),
    parameters=188_611_336, gmacs=29.77, published_gmacs=29.9,
)
_register(
    "b120", 288, _result_21k(86.6, table="5.2"),
    parameters=188_611_336, gmacs=49.19, published_gmacs=49.3,
)
_register(
    "b120", 384, _result_21k(86.9, "b120_384_21k.pth"),
    parameters=188_611_336, gmacs=87.42, published_gmacs=87.7,
)
_register(
    "l60", 224, _result_21k(85.6, table="5.2"),
    parameters=176_009_576, gmacs=28.04, published_gmacs=28.1,
)
_register(
    "l60", 288, _result_21k(86.1, table="5.2"),
    parameters=176_009_576, gmacs=46.33, published_gmacs=46.4,
)
_register(
    "l60", 384, _result_21k(86.4, table="5.2"),
    parameters=176_009_576, gmacs=82.33, published_gmacs=82.5,
)
_register(
    "l120", 224, _result_21k(86.1, table="5.2"),
    parameters=334_294_376, gmacs=52.85, published_gmacs=53.0,
)
_register(
    "l120", 288, _result_21k(86.6, table="5.2"),
    parameters=334_294_376, gmacs=87.31, published_gmacs=87.5,
)
_register(
    "l120", 384, _result_21k(87.1, table="5.2"),
    parameters=334_294_376, gmacs=155.2, published_gmacs=155.5,
)
_register(
    "s60_multi", 224,
    _result(81.1, file="s60_multi_scratch_1k.pth"),
    _result(82.0, "1k fine-tuned", "s60_multi_finetune_1k.pth"),
    parameters=25_614_712, gmacs=5.308, published_gmacs=5.3,
)
# fmt: on
