"""The values of variables, wherever they are."""

import keras
import numpy as np


def is_elsewhere(variable: keras.Variable) -> bool:
    """Whether other processes have parts of a variable, or copies."""
    return keras.backend.backend() == "jax" and not variable.value.is_fully_addressable


def to_numpy(variable: keras.Variable) -> np.ndarray:
    """A copy of a variable's value.

    Where several processes hold it, each one's devices have all of it: the devices that share a
    copy of a model are in one process.
    """
    if not is_elsewhere(variable):
        return np.array(variable.numpy())
    value = variable.value
    whole = np.empty(value.shape, value.dtype)
    for shard in value.addressable_shards:
        whole[shard.index] = np.asarray(shard.data)
    return whole
