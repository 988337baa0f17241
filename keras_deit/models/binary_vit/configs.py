"""The published configurations of BinaryViT and of the models that its paper compares."""

from keras_deit.models.binary_vit.model import BinaryViT
from keras_deit.models.registry import register_model
from keras_deit.models.spec import Result

_CODE = "github.com/Phuoc-Hoan-Le/BinaryViT"
_TABLE = "BinaryViT (Le and Li, 2023), tables 2 and 3"
# DeiT-S, binary, with the mean of the tokens in place of the class token.
_FLAT = {
    **{"patch_size": 16, "embed_dim": 384, "depth": 12, "num_heads": 6, "mlp_ratio": 4},
    **{"reduction": 1, "patch_norm": False},
}


def _register(name: str, parameters: int, gmacs: float, gops: float, top1: float, **values) -> None:
    register_model(
        name,
        BinaryViT,
        image_size=224,
        parameters=parameters,
        gmacs=gmacs,
        gops=gops,
        # All were trained with DeiT-S as the teacher, and no weights were released.
        results=(Result("1k distilled", top1, source=_TABLE),),
        source=_CODE,
        **values,
    )


# fmt: off
_register(
    "binary_vit_small_patch4_224", 22_491_771, 3.832, 0.0789, 67.7,
    published_gops=0.079,
)
# BinaryViT*.
_register(
    "binary_vit_small_patch4_star_224", 22_488_635, 3.832, 0.1548, 70.6,
    binary_merging=False,
)
_register(
    "binary_deit_small_patch16_224", 22_294_900, 4.599, 0.1291, 48.5,
    **_FLAT, pooling_sizes=(), affine=False, class_token=True,
)
_register(
    "binary_deit_small_patch16_gap_224", 22_294_132, 4.574, 0.1287, 56.4,
    **_FLAT, pooling_sizes=(), affine=False,
)
_register(
    "binary_deit_small_patch16_gap_branches_224", 22_330_996, 4.574, 0.1324, 60.2,
    **_FLAT, affine=False,
)
_register(
    "binary_deit_small_patch16_gap_branches_affine_224", 22_349_428, 4.574, 0.1342, 61.8,
    **_FLAT,
)
# fmt: on
