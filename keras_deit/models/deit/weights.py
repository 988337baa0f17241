"""The names of DeiT's weights in published files.

The authors and timm use the same names. Hugging Face's transformers has its own, and publishes
plain DeiT as a ViT.
"""

from keras_deit.models.weight_names import (
    BARE,
    CONVOLUTION,
    COPY,
    DENSE,
    NORM,
    SCALE,
    Layout,
    Table,
)

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

LAYER_SCALES: Table = {
    "block_{i}/layer_scale1": ("blocks.{i}.gamma_1", BARE),
    "block_{i}/layer_scale2": ("blocks.{i}.gamma_2", BARE),
}

CLASS_BLOCKS: Table = {
    "class_block_{i}/norm1": ("blocks_token_only.{i}.norm1", NORM),
    "class_block_{i}/attention/query": ("blocks_token_only.{i}.attn.q", DENSE),
    "class_block_{i}/attention/key": ("blocks_token_only.{i}.attn.k", DENSE),
    "class_block_{i}/attention/value": ("blocks_token_only.{i}.attn.v", DENSE),
    "class_block_{i}/attention/projection": ("blocks_token_only.{i}.attn.proj", DENSE),
    "class_block_{i}/layer_scale1": ("blocks_token_only.{i}.gamma_1", BARE),
    "class_block_{i}/norm2": ("blocks_token_only.{i}.norm2", NORM),
    "class_block_{i}/mlp/expand": ("blocks_token_only.{i}.mlp.fc1", DENSE),
    "class_block_{i}/mlp/contract": ("blocks_token_only.{i}.mlp.fc2", DENSE),
    "class_block_{i}/layer_scale2": ("blocks_token_only.{i}.gamma_2", BARE),
}

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
    "authors": {**COMMON, **BLOCKS, **DISTILLATION},
    "Hugging Face, two heads": {**_FILES, **_TWO_HEADS},
    "Hugging Face": {**_FILES, **_ONE_HEAD},
    "Hugging Face 5, two heads": {**_IN_MEMORY, **_TWO_HEADS},
    "Hugging Face 5": {**_IN_MEMORY, **_ONE_HEAD},
}

_SPT: Table = {
    "patch_embedding/norm": ("patch_embed.norm", NORM),
    "patch_embedding/projection": ("patch_embed.proj", DENSE),
}
_BIASES: Layout = {"scalar_biases": (".scalar_biases", COPY)}
# DeiT has been published without SPT, LSA and Fixup, so their names are this package's.
_FURTHER: Table = {
    **LAYER_SCALES,
    **CLASS_BLOCKS,
    "block_{i}/attention": ("blocks.{i}.attn", {**SCALE, **_BIASES}),
    "block_{i}/mlp": ("blocks.{i}.mlp", _BIASES),
}


def of_model(has_spt: bool) -> dict[str, Table]:
    """Returns the names of a DeiT, with those of layers that the published ones do not have.

    They are not in `TABLES`, by which the family of a file is recognized.

    Args:
        has_spt: whether shifted patch tokenization takes the place of the patch embedding.
    """
    spt = _SPT if has_spt else {}
    return {publisher: {**table, **_FURTHER, **spt} for publisher, table in TABLES.items()}


def describe(names: list[str]) -> str | None:
    """Returns which DeiT a file with tensors of these names holds; None for another family."""
    if any("dist_token" in name or "distillation_token" in name for name in names):
        return "distilled DeiT"
    marks = ("blocks.0.attn.qkv.", "encoder.layer.0.attention.", "layers.0.attention.q_proj.")
    return "DeiT" if any(mark in name for name in names for mark in marks) else None
