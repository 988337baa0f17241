"""Which weights a training moves."""

import keras

from keras_deit.errors import InputError, unknown_name
from keras_deit.recipes.recipe import TRAINABLE

# Layers at the top of a model that are trained with each choice.
_WITH = {
    "attention": ("class_head", "position_embedding"),
    "head": ("class_head", "distillation_head"),
}


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
    # On TensorFlow Keras passes over an assignment that would change nothing at the top.
    model.trainable = False
    model.trainable = True
    if which == "all":
        return
    paths = [(variable, variable.path.split("/")) for variable in model.trainable_variables]
    if which == "attention" and not any("attention" in path for _, path in paths):
        raise InputError(f"trainable 'attention' needs attention layers. Received: {model.name}")
    for variable, path in paths:
        in_attention = which == "attention" and "attention" in path
        variable.trainable = in_attention or path[0] in _WITH[which]
