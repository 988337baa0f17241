"""The names of DeiT III's weights in published files, with parallel blocks and the hMLP stem."""

from keras_deit.models.deit.weights import BLOCKS, COMMON, LAYER_SCALES
from keras_deit.models.weight_names import (
    BARE,
    BATCH_NORM,
    CONVOLUTION,
    DENSE,
    GAMMA,
    NORM,
    Table,
)

_SECOND_BRANCH: Table = {
    "block_{i}/norm1_b": ("blocks.{i}.norm11", NORM),
    "block_{i}/attention_b/qkv": ("blocks.{i}.attn1.qkv", DENSE),
    "block_{i}/attention_b/projection": ("blocks.{i}.attn1.proj", DENSE),
    "block_{i}/layer_scale1_b": ("blocks.{i}.gamma_1_1", BARE),
    "block_{i}/norm2_b": ("blocks.{i}.norm21", NORM),
    "block_{i}/mlp_b/expand": ("blocks.{i}.mlp1.fc1", DENSE),
    "block_{i}/mlp_b/contract": ("blocks.{i}.mlp1.fc2", DENSE),
    "block_{i}/layer_scale2_b": ("blocks.{i}.gamma_2_1", BARE),
}

_STEM: Table = {
    "patch_embedding/conv1": ("patch_embed.proj.0", CONVOLUTION),
    "patch_embedding/norm1": ("patch_embed.proj.1", BATCH_NORM),
    "patch_embedding/conv2": ("patch_embed.proj.3", CONVOLUTION),
    "patch_embedding/norm2": ("patch_embed.proj.4", BATCH_NORM),
    "patch_embedding/conv3": ("patch_embed.proj.6", CONVOLUTION),
    "patch_embedding/norm3": ("patch_embed.proj.7", BATCH_NORM),
}

_AUTHORS: Table = {**COMMON, **BLOCKS, **LAYER_SCALES, **_SECOND_BRANCH, **_STEM}

_TIMM: Table = {
    **_AUTHORS,
    "block_{i}/layer_scale1": ("blocks.{i}.ls1", GAMMA),
    "block_{i}/layer_scale2": ("blocks.{i}.ls2", GAMMA),
}


def _timm_branch(number: int, suffix: str) -> Table:
    attention, mlp = f"blocks.{{i}}.attns.{number}", f"blocks.{{i}}.ffns.{number}"
    return {
        f"block_{{i}}/norm1{suffix}": (f"{attention}.norm", NORM),
        f"block_{{i}}/attention{suffix}/qkv": (f"{attention}.attn.qkv", DENSE),
        f"block_{{i}}/attention{suffix}/projection": (f"{attention}.attn.proj", DENSE),
        f"block_{{i}}/layer_scale1{suffix}": (f"{attention}.ls", GAMMA),
        f"block_{{i}}/norm2{suffix}": (f"{mlp}.norm", NORM),
        f"block_{{i}}/mlp{suffix}/expand": (f"{mlp}.mlp.fc1", DENSE),
        f"block_{{i}}/mlp{suffix}/contract": (f"{mlp}.mlp.fc2", DENSE),
        f"block_{{i}}/layer_scale2{suffix}": (f"{mlp}.ls", GAMMA),
    }


# timm's parallel block names both branches in the same way.
_TIMM_PARALLEL: Table = {**_AUTHORS, **_timm_branch(0, ""), **_timm_branch(1, "_b")}


TABLES = {"authors": _AUTHORS, "timm": _TIMM, "timm, parallel": _TIMM_PARALLEL}


def describe(names: list[str]) -> str | None:
    """Returns which DeiT III a file with tensors of these names holds; None for another family."""
    if any(mark in name for name in names for mark in (".attn1.qkv.", ".attns.0.")):
        return "DeiT III with parallel blocks"
    marks = ("blocks.0.gamma_1", "blocks.0.ls1.gamma", "patch_embed.proj.0.")
    return "DeiT III" if any(mark in name for name in names for mark in marks) else None
