"""The state of all global random generators, as arrays that a checkpoint can hold."""

import contextlib
import random
from collections.abc import Iterator

import keras
import numpy as np

from keras_deit.core.keras_internals import global_seed_generator, without_importing_tensorflow

_PYTHON, _NUMPY, _KERAS = "random python", "random numpy", "random keras"
_TORCH_CPU, _TORCH_CUDA = "torch generator", "torch generator, cuda:"
RANDOM_STATE = ("random ", _TORCH_CPU)


@without_importing_tensorflow()
def set_random_seed(seed: int) -> None:
    """Does what `keras.utils.set_random_seed` does, without importing TensorFlow elsewhere."""
    keras.utils.set_random_seed(seed)


def read_random_state() -> dict[str, np.ndarray]:
    """Returns the states of the global generators of Python, NumPy, Keras and PyTorch by name.

    On PyTorch Keras's `Dropout` without a seed and its data loaders draw from PyTorch's generator.
    The generators of Keras's layers are variables of the layers. The global ones may be drawn from
    by a user's own layer, transform or callback.
    """
    # First, because to create it draws from Python's.
    of_keras = global_seed_generator().state
    _, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    return {
        # A float64 holds the integers of 32 bits, and the cached draw of a normal distribution.
        _PYTHON: np.array([*words, np.nan if gauss is None else gauss]),
        _NUMPY: np.array([*keys, position, has_gauss, cached]),
        _KERAS: np.array(keras.ops.convert_to_numpy(of_keras)),
        **read_torch_state(),
    }


def assign_random_state(values: dict[str, np.ndarray]) -> None:
    """Restores the states of `read_random_state`; those that an earlier version lacks stay."""
    if _PYTHON in values:
        *words, gauss = values[_PYTHON].tolist()
        cached = None if np.isnan(gauss) else gauss
        random.setstate((random.Random.VERSION, tuple(map(int, words)), cached))
    if _NUMPY in values:
        *keys, position, has_gauss, cached = values[_NUMPY].tolist()
        state = ("MT19937", np.array(keys, np.uint32), int(position), int(has_gauss), cached)
        np.random.set_state(state)
    if _KERAS in values:
        global_seed_generator().state.assign(values[_KERAS])
    assign_torch_state(values)


@contextlib.contextmanager
def preserved_random_state() -> Iterator[None]:
    """Lets what is drawn in the block change nothing after it."""
    before = read_random_state()
    try:
        yield
    finally:
        assign_random_state(before)


def read_torch_state() -> dict[str, np.ndarray]:
    """Returns the states of PyTorch's global generators by name; nothing on other backends."""
    if keras.backend.backend() != "torch":
        return {}
    import torch

    states = {_TORCH_CPU: torch.get_rng_state()}
    if torch.cuda.is_available():
        on_cuda = torch.cuda.get_rng_state_all()
        states |= {f"{_TORCH_CUDA}{index}": state for index, state in enumerate(on_cuda)}
    return {name: state.cpu().numpy().copy() for name, state in states.items()}


def assign_torch_state(values: dict[str, np.ndarray]) -> None:
    """Restores the states of `read_torch_state`."""
    if keras.backend.backend() != "torch":
        return
    import torch

    torch.set_rng_state(torch.from_numpy(values[_TORCH_CPU]))
    for index in range(torch.cuda.device_count()):
        if f"{_TORCH_CUDA}{index}" in values:
            torch.cuda.set_rng_state(torch.from_numpy(values[f"{_TORCH_CUDA}{index}"]), index)
