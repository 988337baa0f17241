"""Turning on activation checkpointing."""

import keras

from keras_deit.core.errors import InputError, missing_method
from keras_deit.models import Classifier


def enable_activation_checkpointing(model: keras.Model) -> None:
    """Makes the blocks of a model keep only their inputs for the backward pass.

    The gradients are the same. Call this at every start, because a file does not save it.

    Args:
        model: model of this package.

    Raises:
        InputError: the model has no blocks, or one does not support it.
    """
    blocks = model.blocks if isinstance(model, Classifier) else []
    if not blocks:
        raise InputError(
            f"activation_checkpointing needs a model of blocks. Received: {model.name}"
        )
    for block in blocks:
        if not block.supports_activation_checkpointing:
            raise missing_method(block, "call that uses `checkpointed`", "activation_checkpointing")
        block.activation_checkpointing = True
