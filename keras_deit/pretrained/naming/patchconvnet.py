"""PatchConvNet's names; timm does not have it."""

from keras_deit.pretrained.naming.cait import CLASS_BLOCKS
from keras_deit.pretrained.naming.deit import COMMON
from keras_deit.pretrained.naming.layouts import (
    BARE,
    CONVOLUTION,
    DEPTHWISE,
    NORM,
    POINTWISE,
    ROWS,
    Table,
)

PATCHCONVNET: Table = {
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

# One token per class: each class has a linear layer of its own, from its token to its logit.
PATCHCONVNET_MULTI: Table = {**PATCHCONVNET, "class_head": ("head.{k}", ROWS)}
