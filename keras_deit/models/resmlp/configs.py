"""The published configurations of ResMLP.

The names are timm's, or in timm's style for the models of the thesis that timm lacks: B24 with
patches of 16 pixels, S12 with patches of 14 and 8. "resmlp_big_24_224" has patches of 8 pixels.
"""

from keras_deit.models.registry import register_model
from keras_deit.models.resmlp.model import ResMLP
from keras_deit.models.spec import TIMM_RESULTS, Result

_README = "github.com/facebookresearch/deit, README_resmlp.md"
_CODE = "github.com/facebookresearch/deit, resmlp_models.py"
_THESIS = "Touvron, Architectures and Training for Visual Understanding (thesis, 2022)"
_TABLE_1, _TABLE_3 = f"{_THESIS}, table 4.1", f"{_THESIS}, table 4.3"
_TIMM = "github.com/huggingface/pytorch-image-models, results/results-imagenet.csv"
_KNN = f"{_README}: of a k-NN classifier of the features, without fine-tuning"

# LayerScale of S12, S24, S36 and of B24 with patches of 8 is that of the authors' code. The others
# have no code: as the thesis says, it is smaller the deeper the model, 0.1 at 12 blocks and 1e-5
# at 24.
_S12 = {"patch_size": 16, "embed_dim": 384, "depth": 12, "layer_scale_init": 0.1}
_S24 = {"patch_size": 16, "embed_dim": 384, "depth": 24, "layer_scale_init": 1e-5}
_S36 = {"patch_size": 16, "embed_dim": 384, "depth": 36, "layer_scale_init": 1e-6}
_B24_8 = {"patch_size": 8, "embed_dim": 768, "depth": 24, "layer_scale_init": 1e-6}
_B24_16 = {"patch_size": 16, "embed_dim": 768, "depth": 24, "layer_scale_init": 1e-5}

# ReaL and V2 of released weights.
_FURTHER = {
    "resmlp_12_no_dist.pth": (83.3, 64.4),
    "resmlp_12_dist.pth": (84.6, 66.0),
    "resmlp_24_no_dist.pth": (85.3, 67.9),
    "resmlp_24_dist.pth": (86.6, 69.8),
    "resmlp_36_no_dist.pth": (85.623, 68.04),
    "resmlp_36_dist.pth": (86.98, 70.1),
    "resmlpB_24_no_dist.pth": (85.7, 68.6),
    "resmlpB_24_dist.pth": (88.4, 73.4),
    "resmlpB_24_22k.pth": (88.9, 74.2),
}


def _register(name, *results, source=_CODE, **values):
    register_model(
        name, ResMLP, image_size=224, results=results, crop_ratio=0.9, source=source, **values
    )


def _result(training, top1, source, file, timm):
    real, v2 = _FURTHER.get(file, (None, None))
    further = TIMM_RESULTS if file.startswith("resmlp_36") else _TABLE_3
    return Result(
        *(training, top1, None, source, (file, f"hf://timm/{timm}"), real, v2),
        further if real else "",
    )


# fmt: off
_register(
    "resmlp_12_224",
    _result("1k", 76.6, _TABLE_1, "resmlp_12_no_dist.pth", "resmlp_12_224.fb_in1k"),
    _result("1k distilled", 77.8, _README, "resmlp_12_dist.pth", "resmlp_12_224.fb_distilled_in1k"),
    _result("1k, DINO, k-NN", 62.6, _KNN, "resmlp_12_dino.pth", "resmlp_12_224.fb_dino"),
    **_S12, parameters=15_350_872, gmacs=3.010, published_gmacs=3.0,
)
_register(
    "resmlp_24_224",
    _result("1k", 79.4, _TABLE_1, "resmlp_24_no_dist.pth", "resmlp_24_224.fb_in1k"),
    _result("1k distilled", 80.8, _README, "resmlp_24_dist.pth", "resmlp_24_224.fb_distilled_in1k"),
    _result("1k, DINO, k-NN", 69.4, _KNN, "resmlp_24_dino.pth", "resmlp_24_224.fb_dino"),
    **_S24, parameters=30_020_680, gmacs=5.961, published_gmacs=6.0,
)
# The authors' README gives it the 23 GMACs of B24 with patches of 16.
_register(
    "resmlp_36_224",
    _result("1k", 79.77, f"measured by timm: {_TIMM}",
        "resmlp_36_no_dist.pth", "resmlp_36_224.fb_in1k"),
    _result("1k distilled", 81.1, _README, "resmlp_36_dist.pth", "resmlp_36_224.fb_distilled_in1k"),
    **_S36, parameters=44_690_488, gmacs=8.913,
)
_register(
    "resmlp_big_24_224",
    _result("1k", 81.0, _TABLE_3, "resmlpB_24_no_dist.pth", "resmlp_big_24_224.fb_in1k"),
    _result("1k distilled", 83.6, _README,
        "resmlpB_24_dist.pth", "resmlp_big_24_224.fb_distilled_in1k"),
    _result("22k → 1k", 84.4, _README,
        "resmlpB_24_22k.pth", "resmlp_big_24_224.fb_in22k_ft_in1k"),
    **_B24_8, parameters=129_138_280, gmacs=100.2, published_gmacs=100,
)
_register(
    "resmlp_big_24_patch16_224", Result("1k", 81.0, None, _TABLE_1), source=_TABLE_1,
    **_B24_16, parameters=115_736_776, gmacs=23.02, published_gmacs=23.0,
)
_register(
    "resmlp_12_patch14_224", Result("1k", 76.9, None, _TABLE_3), source=_TABLE_3,
    **{**_S12, "patch_size": 14}, parameters=15_607_912, gmacs=3.984,
)
_register(
    "resmlp_12_patch8_224", Result("1k", 79.1, None, _TABLE_3), source=_TABLE_3,
    **{**_S12, "patch_size": 8}, parameters=22_051_624, gmacs=13.99,
)
# fmt: on
