"""The names of DeiT's weights in published files.

The authors and timm use the same names. Hugging Face's transformers has its own, and publishes
plain DeiT as a ViT.
"""

from keras_deit.models.weight_names import BARE, CONVOLUTION, DENSE, NORM, SCALE, Table

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

# DeiT has been published without SPT and LSA, so these names are this package's.
SPT: Table = {
    "patch_embedding/norm": ("patch_embed.norm", NORM),
    "patch_embedding/projection": ("patch_embed.proj", DENSE),
}
LSA: Table = {"block_{i}/attention": ("blocks.{i}.attn", SCALE)}

DISTILLATION: Table = {
    "distillation_token": ("dist_token", BARE),
    "distillation_head": ("head_dist", DENSE),
}


def _transformers(layer: str, qkv: tuple[str, str, str], others: tuple[str, str, str]) -> Table:
    """Returns transformers' names; those of a block as one of its versions has them.

    Its models for classification have the body behind `vit.` or `deit.`, beside the head.
    """
    projection, expand, contract = others
    return {
        "class_token": ("embeddings.cls_token", BARE),
        "distillation_token": ("embeddings.distillation_token", BARE),
        "position_embedding": ("embeddings.position_embeddings", BARE),
        "patch_embedding/projection": ("embeddings.patch_embeddings.projection", CONVOLUTION),
        "block_{i}/norm1": (f"{layer}.layernorm_before", NORM),
        "block_{i}/attention/qkv": (tuple(f"{layer}.attention.{name}" for name in qkv), DENSE),
        "block_{i}/attention/projection": (f"{layer}.attention.{projection}", DENSE),
        "block_{i}/norm2": (f"{layer}.layernorm_after", NORM),
        "block_{i}/mlp/expand": (f"{layer}.{expand}", DENSE),
        "block_{i}/mlp/contract": (f"{layer}.{contract}", DENSE),
        "norm": ("layernorm", NORM),
    }


_FILES = _transformers(
    "encoder.layer.{i}",
    ("attention.query", "attention.key", "attention.value"),
    ("output.dense", "intermediate.dense", "output.dense"),
)
# Since version 5 a model has other names in memory, which a training checkpoint takes, and still
# the old ones in its own files.
_IN_MEMORY = _transformers(
    "layers.{i}", ("q_proj", "k_proj", "v_proj"), ("o_proj", "mlp.fc1", "mlp.fc2")
)
_TWO_HEADS: Table = {
    "class_head": ("cls_classifier", DENSE),
    "distillation_head": ("distillation_classifier", DENSE),
}
# Of a ViT, or of a DeiT with a distillation token and a head on the class token alone.
_ONE_HEAD: Table = {"class_head": ("classifier", DENSE)}

TABLES = {
    "authors": {**COMMON, **BLOCKS, **DISTILLATION, **LSA},
    "Hugging Face, two heads": {**_FILES, **_TWO_HEADS},
    "Hugging Face": {**_FILES, **_ONE_HEAD},
    "Hugging Face 5, two heads": {**_IN_MEMORY, **_TWO_HEADS},
    "Hugging Face 5": {**_IN_MEMORY, **_ONE_HEAD},
}


def describe(names: list[str]) -> str | None:
    """Returns which DeiT a file with tensors of these names holds; None for another family."""
    if any("dist_token" in name or "distillation_token" in name for name in names):
        return "distilled DeiT"
    marks = ("blocks.0.attn.qkv.", "encoder.layer.0.attention.", "layers.0.attention.q_proj.")
    return "DeiT" if any(mark in name for name in names for mark in marks) else None
