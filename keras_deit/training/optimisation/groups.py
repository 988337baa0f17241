"""Which variables decay, and at what learning rate each is trained."""

import re
from collections.abc import Iterable

import keras

from keras_deit.errors import InputError
from keras_deit.layers import PositionEmbedding, PrependToken

_BLOCK = re.compile(r"(class_)?block_\d+")


def undecayed_variables(model: keras.Model) -> list[keras.Variable]:
    """The trainable variables that the authors spare from weight decay.

    They are those of rank 1 or less (biases, norms, LayerScale), every bias, and those that the
    model lists as `undecayed`: positions and class token. The distillation token decays, as it
    did in the published training.
    """
    listed = {id(variable) for variable in getattr(model, "undecayed", ())}
    return [
        variable
        for variable in model.trainable_variables
        if len(variable.shape) <= 1 or variable.name == "bias" or id(variable) in listed
    ]


def learning_rate_factors(model: keras.Model, layer_decay: float) -> dict[str, float]:
    """By path, what layer-wise decay multiplies each trainable variable's learning rate with.

    `layer_decay` to the power of the blocks between a layer and the heads (BEiT, §3.2): with
    depth d, d + 1 for patch embedding, tokens and positions, d − i for block i, 0 for final norm
    and heads.

    Args:
        model: one of this package.
        layer_decay: 1 for the same learning rate everywhere.

    Raises:
        InputError: the model has no blocks.
    """
    groups = _layer_groups(model)
    top = max(group for _, group in groups)
    if top == 0:
        raise InputError(f"layer_decay needs a model of blocks. Received: {model.name}")
    return {
        variable.path: layer_decay ** (top - group)
        for layer, group in groups
        for variable in layer.trainable_variables
    }


def paths(chosen: Iterable[keras.Variable], model: keras.Model) -> list[str]:
    """The paths of some of a model's trainable variables, each of which must tell it apart.

    Raises:
        InputError: a path is shared with a variable that was not chosen.
    """
    chosen = list(chosen)
    ids = {id(variable) for variable in chosen}
    others = {v.path for v in model.trainable_variables if id(v) not in ids}
    shared = sorted({variable.path for variable in chosen} & others)
    if shared:
        raise InputError(
            f"{model.name} has two variables of one path, and only one of them decays: "
            f"{', '.join(shared[:5])}. Give its layers names of their own."
        )
    return [variable.path for variable in chosen]


def _layer_groups(model: keras.Model) -> list[tuple[keras.Layer, int]]:
    depth = sum(_is_block(layer) for layer in model.layers)
    groups, blocks = [], 0
    for layer in model.layers:
        if _is_block(layer):
            blocks += 1
            groups.append((layer, blocks))
        elif blocks == 0 or isinstance(layer, (PositionEmbedding, PrependToken)):
            # CaiT's class token comes in late, and is as far from the heads as the patches.
            groups.append((layer, 0))
        else:
            groups.append((layer, depth + 1))
    return groups


def _is_block(layer: keras.Layer) -> bool:
    return _BLOCK.fullmatch(layer.name) is not None
