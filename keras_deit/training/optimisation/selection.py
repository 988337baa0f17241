"""Which weights a training moves."""

import keras

from keras_deit.errors import InputError, unknown_name
from keras_deit.recipes.recipe import TRAINABLE


def select_trainable(model: keras.Model, which: str) -> None:
    """Makes some of a model's weights trainable and freezes the others.

    What is trainable belongs to a training, not to a model: a file does not keep it for single
    weights. Call this at every start, before an optimiser is built.

    Args:
        model: one of this package.
        which: "all"; "attention" for the attention layers, talking heads with them, the class head
            and the positions ("Three things everyone should know about Vision Transformers" §4;
            as in the authors' script, the second branch of a parallel block, the norms and the
            distillation head stay frozen); "head" for the heads alone.

    Raises:
        InputError: no such choice, or a model without attention.
    """
    if which not in TRAINABLE:
        raise unknown_name("choice of trainable weights", which, TRAINABLE)
    model.trainable = True
    if which == "all":
        return
    wanted = _in_attention if which == "attention" else _in_heads
    chosen = {id(v) for v in model.trainable_variables if wanted(v.path.split("/"))}
    if which == "attention" and not any("/attention/" in v.path for v in model.weights):
        raise InputError(f"trainable 'attention' needs attention layers. Received: {model.name}")
    for variable in model.trainable_variables:
        variable.trainable = id(variable) in chosen


def _in_attention(path: list[str]) -> bool:
    return "attention" in path or path[0] in ("class_head", "position_embedding")


def _in_heads(path: list[str]) -> bool:
    return path[0] in ("class_head", "distillation_head")
