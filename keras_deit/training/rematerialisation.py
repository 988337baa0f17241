"""Less memory for activations, against computing them twice."""

import keras

from keras_deit.errors import InputError
from keras_deit.layers.rematerialisation import Rematerialised


def rematerialise(model: keras.Model) -> None:
    """Makes the blocks of a model keep their inputs alone for the backward pass.

    Gradients are the same; what is random is drawn once. Call this at every start: a file does not
    keep it. The blocks of class attention, of which a model has two, keep everything.

    Args:
        model: one of this package.

    Raises:
        InputError: the model has no such blocks.
    """
    blocks = [layer for layer in model.layers if isinstance(layer, Rematerialised)]
    if not blocks:
        raise InputError(f"rematerialise needs a model of blocks. Received: {model.name}")
    for block in blocks:
        block.rematerialise = True
