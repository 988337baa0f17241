"""The names of CaiT's weights in published files: the authors and timm use the same."""

from keras_deit.models.deit.weights import BLOCKS, COMMON, DISTILLATION
from keras_deit.models.deit3.weights import LAYER_SCALES
from keras_deit.models.weight_names import BARE, DENSE, NORM, Table

_TALKING_HEADS: Table = {
    "block_{i}/attention/heads_before_softmax": ("blocks.{i}.attn.proj_l", DENSE),
    "block_{i}/attention/heads_after_softmax": ("blocks.{i}.attn.proj_w", DENSE),
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

TABLES = {
    "authors": {
        **COMMON,
        **BLOCKS,
        **LAYER_SCALES,
        **DISTILLATION,
        **_TALKING_HEADS,
        **CLASS_BLOCKS,
    }
}


def describe(names: list[str]) -> str | None:
    """Returns "CaiT" if tensors of these names are of one."""
    return "CaiT" if any("blocks_token_only." in name for name in names) else None
