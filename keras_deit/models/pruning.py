"""Pruning the channels of a vision transformer by learned gates.

"Vision Transformer Pruning" (Zhu et al., 2021). What the dense layers of a block read is gated: the
input that queries, keys and values share, the output of the heads, the input of the MLP and what is
between its two layers. The residual stream, the heads and the blocks stay.
"""

import itertools

import keras
import numpy as np
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.layers.channels import Gated
from keras_deit.layers.initializers import skip_init
from keras_deit.layers.introspection import gate_variables
from keras_deit.layers.settings import LAYER_SETTINGS, lora_parts, quantized_layers
from keras_deit.models.classifier import Classifier

# What is kept: for each block with gates, and each of its gated inputs by name, which of the
# gates, ascending.
Kept = list[dict[str, np.ndarray]]


def check_prunable(family: type[Classifier], values: dict) -> None:
    """Checks that the blocks of a model can have gates.

    Args:
        family: class of the model.
        values: its constructor arguments.

    Raises:
        InputError: they cannot.
    """
    if not {"gates", "kept"} <= values.keys():
        raise InputError(
            f"{family.__name__} cannot be pruned: its blocks have no gates. DeiT, DeiT III, ViT "
            "and CaiT have them."
        )


def with_gates(model: Classifier) -> Classifier:
    """Returns a model with the same weights and a gate of 1 at each channel, so that it computes
    the same; the model itself does not change.

    Raises:
        InputError: the family has no gates, or layers are quantized or have LoRA.
    """
    check_prunable(type(model), model.get_config())
    gated = _rebuilt(model, gates=True)
    # Copies, because a step on JAX deletes the arrays of the model that it is of.
    own = {variable.path: variable for variable in model.weights}
    for variable in gated.weights:
        if variable.path in own:
            variable.assign(ops.copy(own[variable.path].value))
    return gated


def count_gates(model: Classifier) -> int:
    """Returns the number of gates of a model."""
    return sum(variable.shape[0] for variable in gate_variables(model))


def kept_count(model: Classifier, rate: float, equal_heads: bool = True) -> int:
    """Returns how many gates of a model, which may be abstract, `choose` keeps.

    The arguments and errors are those of `choose`.
    """
    total = count_gates(model)
    if not total:
        raise InputError(f"{model.name} has no gates: train it with gates first.")
    if not 0 < rate < 1:
        raise InputError(f"rate should be above 0 and below 1. Received: {rate:g}")
    count = round((1 - rate) * total)
    least = sum(len({*gated.groups(equal_heads)}) for _, gated in _gated(model))
    if count < least:
        raise InputError(
            f"rate {rate:g} leaves {count:,} of {total:,} gates, and {least:,} are needed so that "
            f"every layer keeps something: the rate can be at most {1 - least / total:.4g}."
        )
    return count


def choose(model: Classifier, rate: float, equal_heads: bool = True) -> Kept:
    """Returns which channels of a model to keep: those with the largest |gate| of the whole model.

    round((1 − rate)·gates) are kept, and at least one of each gated input, whatever its gate. All
    heads of an attention keep equally many of their outputs, so that its values become a narrower
    matrix: the largest gates of all heads are kept or removed together, by their mean, then so are
    the second largest, and so on.

    Args:
        model: model with gates; it does not change.
        rate: share of the gates to remove, in (0, 1).
        equal_heads: whether the heads keep equally many. If not, each gate counts by itself as in
            the paper, and the values of all heads are as wide as those of the widest one.

    Raises:
        InputError: the model has no gates, the rate is out of range, or so much would be removed
            that nothing of an input is left.
    """
    left = kept_count(model, rate, equal_heads)
    kept = [{} for _ in _gated_blocks(model)]
    groups = []
    for (index, name), gated in _gated(model):
        first, *others = _by_importance(gated, equal_heads)
        kept[index][name] = list(first[1])
        left -= len(first[1])
        groups += [(importance, kept[index][name], rows) for importance, rows in others]
    for _, target, rows in sorted(groups, key=lambda group: -group[0]):
        # A group of heads that is too large for what is left makes place for single gates.
        if len(rows) <= left:
            target.extend(rows)
            left -= len(rows)
    return [{name: np.sort(rows) for name, rows in block.items()} for block in kept]


def _by_importance(gated: Gated, equal_heads: bool) -> list[tuple[float, np.ndarray]]:
    """Returns the importance and the positions of the gates that are kept or removed together, the
    most important ones first: one of each group."""
    values = np.abs(ops.convert_to_numpy(gated.channels.gate.value).astype("float64"))
    groups = np.asarray(gated.groups(equal_heads))
    ranked = []
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        ranked.append(rows[np.argsort(-values[rows], kind="stable")])
    ranks = itertools.zip_longest(*ranked)
    together = [np.array([row for row in rank if row is not None]) for rank in ranks]
    return [(values[rows].mean(), rows) for rows in together]


def close_gates(model: Classifier, kept: Kept) -> None:
    """Sets the gates that are not kept to 0: the model then computes what `pruned` does.

    Args:
        model: model with gates, which changes.
        kept: what is kept of them.
    """
    for (index, name), gated in _gated(model):
        gate = gated.channels.gate
        open_ = np.isin(np.arange(gate.shape[0]), kept[index][name])
        gate.assign(ops.convert_to_numpy(gate.value) * open_)


def pruned(model: Classifier, kept: Kept) -> Classifier:
    """Returns the narrow model: rows and columns of what is removed are gone from its kernels, and
    the gates that are kept are a part of them.

    The function is that of the model with the other gates closed, up to rounding. A norm still
    takes its statistics from all channels.

    Args:
        model: model with gates; it does not change.
        kept: what is kept of them.

    Raises:
        InputError: layers are quantized or have LoRA.
    """
    blocks = _gated_blocks(model)
    narrow_kept = [_in_words(*pair) for pair in zip(blocks, kept, strict=True)]
    narrow = _rebuilt(model, gates=False, kept=narrow_kept)
    own = {variable.path: variable for variable in model.weights}
    for variable in narrow.weights:
        if variable.shape == own[variable.path].shape:
            variable.assign(ops.copy(own[variable.path].value))
    for block, target, rows in zip(blocks, _gated_blocks(narrow), kept, strict=True):
        block.copy_into(target, rows)
    return narrow


def _in_words(block: keras.layers.Layer, rows: dict[str, np.ndarray]) -> dict:
    """Returns what is kept as `TransformerBlock` takes it, of the channels before any pruning."""
    words = {}
    for name, kept in rows.items():
        before = (block.kept or {}).get(name)
        if name.startswith("mlp_hidden"):
            words[name] = len(kept)
        else:
            words[name] = [int(row) if before is None else before[row] for row in kept]
    return words


def _rebuilt(model: Classifier, **values) -> Classifier:
    if quantized_layers(model) or any(True for _ in lora_parts(model)):
        raise InputError(f"{model.name} has quantized layers or LoRA: prune it before.")
    config = {key: v for key, v in model.get_config().items() if key != LAYER_SETTINGS}
    with skip_init():
        return type(model).from_config({**config, **values})


def _gated_blocks(model: Classifier) -> list[keras.layers.Layer]:
    return [block for block in model.blocks if hasattr(block, "gated_channels")]


def _gated(model: Classifier) -> list[tuple[tuple[int, str], Gated]]:
    """Returns the gated inputs of a model, each with the index of its block and its name."""
    return [
        ((index, name), gated)
        for index, block in enumerate(_gated_blocks(model))
        for name, gated in block.gated_channels().items()
    ]
