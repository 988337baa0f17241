"""ResMLP's names."""

from keras_deit.pretrained.naming.deit import COMMON
from keras_deit.pretrained.naming.deit3 import LAYER_SCALES
from keras_deit.pretrained.naming.layouts import (
    AFFINE,
    BARE,
    CONVOLUTION,
    DENSE,
    WIDE_AFFINE,
    Table,
)

RESMLP: Table = {
    **COMMON,
    **LAYER_SCALES,
    "block_{i}/norm1": ("blocks.{i}.norm1", AFFINE),
    "block_{i}/cross_patch": ("blocks.{i}.attn", DENSE),
    "block_{i}/norm2": ("blocks.{i}.norm2", AFFINE),
    "block_{i}/mlp/expand": ("blocks.{i}.mlp.fc1", DENSE),
    "block_{i}/mlp/contract": ("blocks.{i}.mlp.fc2", DENSE),
    "norm": ("norm", AFFINE),
}

TIMM_RESMLP: Table = {
    **RESMLP,
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
