"""DeiT's names: the authors' and timm's, which are the same."""

from keras_deit.pretrained.naming.layouts import BARE, CONVOLUTION, DENSE, NORM, Table

# What every architecture of the authors calls the same.
COMMON: Table = {
    "class_token": ("cls_token", BARE),
    "position_embedding": ("pos_embed", BARE),
    "patch_embedding/projection": ("patch_embed.proj", CONVOLUTION),
    "norm": ("norm", NORM),
    "class_head": ("head", DENSE),
}

BLOCKS: Table = {
    "block_{i}/norm1": ("blocks.{i}.norm1", NORM),
    "block_{i}/attention/qkv": ("blocks.{i}.attn.qkv", DENSE),
    "block_{i}/attention/projection": ("blocks.{i}.attn.proj", DENSE),
    "block_{i}/norm2": ("blocks.{i}.norm2", NORM),
    "block_{i}/mlp/expand": ("blocks.{i}.mlp.fc1", DENSE),
    "block_{i}/mlp/contract": ("blocks.{i}.mlp.fc2", DENSE),
}

DISTILLATION: Table = {
    "distillation_token": ("dist_token", BARE),
    "distillation_head": ("head_dist", DENSE),
}

DEIT: Table = {**COMMON, **BLOCKS, **DISTILLATION}
