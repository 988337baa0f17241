"""Cases of ViT and CaiT for small data sets; parity_systems has them without SPT and LSA."""

from harness import Case, Effect
from locality_reference import cait_logits, vit_logits

from keras_deit.models import SmallDataCaiT, SmallDataViT

_SIZES = {
    "image_size": (12, 8),
    "patch_size": 4,
    "embed_dim": 8,
    "depth": 2,
    "num_heads": 2,
    "head_dim": 3,
    "num_classes": 5,
}
_EFFECTS = (
    Effect("image_size", (8, 16), "shapes"),
    Effect("patch_size", 2, "shapes"),
    Effect("embed_dim", 6, "shapes"),
    Effect("depth", 3, "shapes"),
    Effect("num_heads", 3, "shapes"),
    Effect("head_dim", 4, "shapes"),
    Effect("mlp_ratio", 3.0, "shapes"),
    Effect("drop_path_rate", 0.5, "training output"),
    Effect("spt", False, "shapes"),
    Effect("lsa", False, "shapes"),
    Effect("num_classes", 4, "shapes"),
    Effect("dropout_rate", 0.5, "training output"),
    Effect("in_channels", 1, "shapes"),
)
_SL = {**_SIZES, "spt": True, "lsa": True}

SL_VIT = Case(
    SmallDataViT,
    _SL,
    (3, 12, 8, 3),
    _EFFECTS,
    lambda images, w: vit_logits(images, w, depth=2, num_heads=2, side=4),
)
_CAIT = {"depth": 2, "class_depth": 1, "num_heads": 2, "head_dim": 8, "side": 4}
SL_CAIT = Case(
    SmallDataCaiT,
    # So wide that every gradient is above the noise of float32.
    {**_SL, "embed_dim": 24, "head_dim": 8, "class_depth": 1},
    (3, 12, 8, 3),
    (*_EFFECTS, Effect("class_depth", 2, "shapes"), Effect("diagonal", "masked", "output")),
    lambda images, w: cait_logits(images, w, **_CAIT, diagonal="zero"),
)

CASES = {
    "SL-ViT": SL_VIT,
    "SL-CaiT": SL_CAIT,
}
