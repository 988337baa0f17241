"""The names that CViT's weights have in its authors' files."""

from collections.abc import Sequence

from keras_deit.models.weight_names import (
    BARE,
    BATCH_NORM,
    CONVOLUTION,
    COPY,
    DENSE,
    NORM,
    Table,
    Transform,
)

# Convolutions in each group of the published model.
STEM_DEPTHS = (3, 3, 3, 4, 4)

_LAYERS: Table = {
    "patch_embedding/projection": ("patch_to_embedding", DENSE),
    "class_token": ("cls_token", BARE),
    "block_{i}/norm1": ("transformer.layers.{i}.0.fn.norm", NORM),
    "block_{i}/attention/qkv": ("transformer.layers.{i}.0.fn.fn.to_qkv", DENSE),
    "block_{i}/attention/projection": ("transformer.layers.{i}.0.fn.fn.to_out", DENSE),
    "block_{i}/norm2": ("transformer.layers.{i}.1.fn.norm", NORM),
    "block_{i}/mlp/expand": ("transformer.layers.{i}.1.fn.fn.net.0", DENSE),
    "block_{i}/mlp/contract": ("transformer.layers.{i}.1.fn.fn.net.2", DENSE),
    "head_hidden": ("mlp_head.0", DENSE),
    "class_head": ("mlp_head.2", DENSE),
}


def tables(stem_depths: Sequence[int], positions: Transform = COPY) -> dict[str, Table]:
    """Returns the names in files of a model with these numbers of convolutions in its groups.

    The authors number convolutions, norms, ReLUs and poolings one after the other.

    Args:
        stem_depths: number of convolutions in each group.
        positions: from the table of positions in a file to the model's.
    """
    stem: Table = {}
    number = 0
    for group, count in enumerate(stem_depths):
        for index in range(count):
            stem[f"stem_{group}_conv_{index}"] = (f"features.{number}", CONVOLUTION)
            stem[f"stem_{group}_norm_{index}"] = (f"features.{number + 1}", BATCH_NORM)
            number += 3
        number += 1
    layout = {"positions": ("", positions)}
    return {"authors": {**stem, **_LAYERS, "position_embedding": ("pos_embedding", layout)}}


TABLES = tables(STEM_DEPTHS)


def explain_misfit(held: dict, wanted: dict) -> str | None:
    """Returns in one line why a file does not fit if it has another kind of positions."""
    name = "pos_embedding"
    if name not in held or name not in wanted or tuple(held[name]) == tuple(wanted[name]):
        return None
    first, _, width = held[name]
    if width != wanted[name][-1]:
        return None
    if first > 1:
        kind = 'the authors\' first code: cvit_old_224, or positions "batch"'
    else:
        kind = 'another image size or other positions: "token", "image" or "batch"'
    return f"its positions, {name} {tuple(held[name])}, are those of {kind}"
