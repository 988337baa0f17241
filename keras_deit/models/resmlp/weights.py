"""The names of ResMLP's weights in published files."""

from keras_deit.models.deit.weights import COMMON, LAYER_SCALES
from keras_deit.models.weight_names import (
    AFFINE,
    BARE,
    CONVOLUTION,
    DENSE,
    WIDE_AFFINE,
    Table,
)

_AUTHORS: Table = {
    **COMMON,
    **LAYER_SCALES,
    "block_{i}/norm1": ("blocks.{i}.norm1", AFFINE),
    "block_{i}/cross_patch": ("blocks.{i}.attn", DENSE),
    "block_{i}/norm2": ("blocks.{i}.norm2", AFFINE),
    "block_{i}/mlp/expand": ("blocks.{i}.mlp.fc1", DENSE),
    "block_{i}/mlp/contract": ("blocks.{i}.mlp.fc2", DENSE),
    "norm": ("norm", AFFINE),
}

_TIMM: Table = {
    **_AUTHORS,
    "patch_embedding/projection": ("stem.proj", CONVOLUTION),
    "block_{i}/norm1": ("blocks.{i}.norm1", WIDE_AFFINE),
    "block_{i}/cross_patch": ("blocks.{i}.linear_tokens", DENSE),
    "block_{i}/layer_scale1": ("blocks.{i}.ls1", BARE),
    "block_{i}/norm2": ("blocks.{i}.norm2", WIDE_AFFINE),
    "block_{i}/mlp/expand": ("blocks.{i}.mlp_channels.fc1", DENSE),
    "block_{i}/mlp/contract": ("blocks.{i}.mlp_channels.fc2", DENSE),
    "block_{i}/layer_scale2": ("blocks.{i}.ls2", BARE),
    "norm": ("norm", WIDE_AFFINE),
}


TABLES = {"authors": _AUTHORS, "timm": _TIMM}


def describe(names: list[str]) -> str | None:
    """Returns "ResMLP" if tensors of these names are of one."""
    return "ResMLP" if any("norm.alpha" in name for name in names) else None
