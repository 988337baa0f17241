"""The names of PatchConvNet's weights in published files; timm does not have it."""

from keras_deit.models.deit.weights import CLASS_BLOCKS, COMMON
from keras_deit.models.weight_names import (
    BARE,
    CONVOLUTION,
    DEPTHWISE,
    NORM,
    POINTWISE,
    ROWS,
    Table,
)

_ONE_TOKEN: Table = {
    **COMMON,
    **CLASS_BLOCKS,
    "stem/conv1": ("patch_embed.proj.0.0", CONVOLUTION),
    "stem/conv2": ("patch_embed.proj.2.0", CONVOLUTION),
    "stem/conv3": ("patch_embed.proj.4.0", CONVOLUTION),
    "stem/conv4": ("patch_embed.proj.6.0", CONVOLUTION),
    "block_{i}/norm": ("blocks.{i}.norm1", NORM),
    "block_{i}/expand": ("blocks.{i}.attn.qkv_pos.0", POINTWISE),
    "block_{i}/depthwise": ("blocks.{i}.attn.qkv_pos.2", DEPTHWISE),
    "block_{i}/squeeze_excitation/reduce": ("blocks.{i}.attn.qkv_pos.4.conv_reduce", POINTWISE),
    "block_{i}/squeeze_excitation/expand": ("blocks.{i}.attn.qkv_pos.4.conv_expand", POINTWISE),
    "block_{i}/contract": ("blocks.{i}.attn.qkv_pos.5", POINTWISE),
    "block_{i}/layer_scale": ("blocks.{i}.gamma_1", BARE),
}

# With one token per class, each class has its own linear layer from its token to its logit.
_TOKEN_PER_CLASS: Table = {**_ONE_TOKEN, "class_head": ("head.{k}", ROWS)}


TABLES = {"authors": _ONE_TOKEN, "authors, token per class": _TOKEN_PER_CLASS}


def describe(names: list[str]) -> str | None:
    """Returns which PatchConvNet a file with tensors of these names holds; None for others."""
    if not any(".attn.qkv_pos." in name for name in names):
        return None
    if any("head.0." in name for name in names):
        return "PatchConvNet with one token per class"
    return "PatchConvNet"
