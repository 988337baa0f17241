"""Turning on activation checkpointing."""

import contextlib

import keras
import numpy as np

from keras_deit.core.errors import InputError, missing_method
from keras_deit.core.keras_internals import has_memory
from keras_deit.core.random_state import preserved_random_state
from keras_deit.models import Classifier

# Enough that stochastic depth of one's own hardly drops the same twice.
_IMAGES = 8


def enable_activation_checkpointing(model: keras.Model) -> None:
    """Makes the blocks of a model keep only their inputs for the backward pass.

    The gradients are the same, also with random layers. Call this at every start, because a file
    does not save it.

    Args:
        model: model of this package.

    Raises:
        InputError: the model has no blocks, one does not support it, or one draws random numbers
            that it would not draw again the second time.
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
    # JAX traces a block once for both computations, and an abstract model cannot run.
    if keras.backend.backend() != "jax" and has_memory(model):
        _compare(model, blocks)


def _compare(model: Classifier, blocks: list) -> None:
    """Runs all blocks twice, on a few images of noise."""
    images = np.random.default_rng(0).normal(size=(_IMAGES, *model.input_shape[1:]))
    with contextlib.ExitStack() as stack:
        stack.enter_context(preserved_random_state())
        stack.enter_context(keras.StatelessScope())
        for block in blocks:
            stack.enter_context(block.comparing())
        model(keras.ops.convert_to_tensor(images, "float32"), training=True)
