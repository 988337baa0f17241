"""Computing something a second time in the backward pass, with the same random numbers."""

from collections.abc import Callable

import keras
import numpy as np

from keras_deit.core.keras_internals import RecordedState, global_seed_generator
from keras_deit.core.processes import num_replicas_in_sync
from keras_deit.core.random_state import assign_torch_state, read_torch_state


def recomputed(function: Callable, inputs) -> tuple:
    """Calls a function of which only the inputs are kept for the backward pass.

    `keras.remat` alone computes with other random numbers the second time, because Keras's seed
    generators have gone on meanwhile; on JAX, what a layer assigns must not leave the function
    either. Here the second computation starts with the values that the variables had before the
    first, and what the first assigns is assigned outside.

    Args:
        function: of the inputs; may assign variables and add losses. Random numbers should come
            from `keras.random`, or on PyTorch from its global generator.
        inputs: a tensor, or a structure of tensors.

    Returns:
        The outputs, and the list of the losses that layers have added.
    """
    states = []
    if keras.backend.backend() != "jax" and num_replicas_in_sync() == 1:
        # It is created when it is first drawn from, which has to be outside of the scope below. In
        # the threads of several replicas it cannot be created, nor drawn from without this.
        global_seed_generator()

    def run(*flat):
        state = RecordedState(states[0].initial if states else None)
        with state:
            outputs = function(keras.tree.pack_sequence_as(inputs, flat))
        if not states:
            states.append(state)
        # On JAX tensors can leave a function that is differentiated as its results only. On
        # TensorFlow integers would be differentiated if they were results.
        return outputs, state.losses, _assigned(state) if keras.backend.backend() == "jax" else []

    outputs, losses, assigned = keras.remat(run)(*keras.tree.flatten(inputs))
    first = states[0]
    for variable, value in zip(first.assigned, assigned or _assigned(first), strict=True):
        variable.assign(value)
    return outputs, losses


def _assigned(state: RecordedState) -> list:
    return [state.get_current_value(variable) for variable in state.assigned]


def repeats(function: Callable, inputs) -> bool:
    """Returns whether a function computes the same twice, as `recomputed` would call it.

    It has to run eagerly. What it assigns is dropped.
    """
    first, torch_state = RecordedState(), read_torch_state()
    with first:
        one = function(inputs)
    assign_torch_state(torch_state)
    with RecordedState(first.initial):
        other = function(inputs)
    pairs = zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True)
    return all(_close(*map(keras.ops.convert_to_numpy, pair)) for pair in pairs)


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    """Some kernels of accelerators sum up in another order each time."""
    one, other = np.asarray(one, "float32"), np.asarray(other, "float32")
    return np.allclose(one, other, rtol=1e-2, atol=1e-2 * np.abs(one).max(), equal_nan=True)
