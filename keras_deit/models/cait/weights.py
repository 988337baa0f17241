"""The names of CaiT's weights in published files: the authors and timm use the same."""

from keras_deit.models.deit.weights import (
    BLOCKS,
    CLASS_BLOCKS,
    COMMON,
    DISTILLATION,
    LAYER_SCALES,
)
from keras_deit.models.weight_names import DENSE, Table

_TALKING_HEADS: Table = {
    "block_{i}/attention/heads_before_softmax": ("blocks.{i}.attn.proj_l", DENSE),
    "block_{i}/attention/heads_after_softmax": ("blocks.{i}.attn.proj_w", DENSE),
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
