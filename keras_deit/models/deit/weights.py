"""The names of DeiT's weights in published files.

The authors and timm use the same names. Hugging Face's transformers has its own, and publishes
plain DeiT as a ViT.
"""

from keras_deit.models.weight_names import BARE, CONVOLUTION, DENSE, NORM, Table

# The authors use these names in every architecture.
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


_LAYER = "encoder.layer.{i}"
_ATTENTION = f"{_LAYER}.attention.attention"

# Its models for classification have the body behind `vit.` or `deit.`, beside the head.
_TRANSFORMERS: Table = {
    "class_token": ("embeddings.cls_token", BARE),
    "distillation_token": ("embeddings.distillation_token", BARE),
    "position_embedding": ("embeddings.position_embeddings", BARE),
    "patch_embedding/projection": ("embeddings.patch_embeddings.projection", CONVOLUTION),
    "block_{i}/norm1": (f"{_LAYER}.layernorm_before", NORM),
    "block_{i}/attention/qkv": (
        (f"{_ATTENTION}.query", f"{_ATTENTION}.key", f"{_ATTENTION}.value"),
        DENSE,
    ),
    "block_{i}/attention/projection": (f"{_LAYER}.attention.output.dense", DENSE),
    "block_{i}/norm2": (f"{_LAYER}.layernorm_after", NORM),
    "block_{i}/mlp/expand": (f"{_LAYER}.intermediate.dense", DENSE),
    "block_{i}/mlp/contract": (f"{_LAYER}.output.dense", DENSE),
    "norm": ("layernorm", NORM),
}

TABLES = {
    "authors": {**COMMON, **BLOCKS, **DISTILLATION},
    "Hugging Face, two heads": {
        **_TRANSFORMERS,
        "class_head": ("cls_classifier", DENSE),
        "distillation_head": ("distillation_classifier", DENSE),
    },
    # A ViT, or a DeiT with a distillation token and a head on the class token alone.
    "Hugging Face": {**_TRANSFORMERS, "class_head": ("classifier", DENSE)},
}


def describe(names: list[str]) -> str | None:
    """Returns which DeiT a file with tensors of these names holds; None for another family."""
    if any("dist_token" in name or "distillation_token" in name for name in names):
        return "distilled DeiT"
    marks = ("blocks.0.attn.qkv.", "encoder.layer.0.attention.")
    return "DeiT" if any(mark in name for name in names for mark in marks) else None
