"""The random numbers that are not drawn from variables.

On PyTorch Keras's `Dropout` without a seed of its own draws from PyTorch's global generator. On
TensorFlow and JAX all numbers of a step come from the variables of Keras's seed generators.
"""

import keras
import numpy as np

_CPU, _CUDA = "torch generator", "torch generator, cuda:"


def read_random_state() -> dict[str, np.ndarray]:
    """The states of the global generators by name."""
    if keras.backend.backend() != "torch":
        return {}
    import torch

    states = {_CPU: torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"{_CUDA}{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return {name: state.cpu().numpy().copy() for name, state in states.items()}


def assign_random_state(states: dict[str, np.ndarray]) -> None:
    """Puts back what `read_random_state` gave, to the devices that are there."""
    if keras.backend.backend() != "torch":
        return
    import torch

    torch.set_rng_state(torch.from_numpy(states[_CPU]))
    for index in range(torch.cuda.device_count()):
        if f"{_CUDA}{index}" in states:
            torch.cuda.set_rng_state(torch.from_numpy(states[f"{_CUDA}{index}"]), index)


def is_random_state(name: str) -> bool:
    """Whether a name is one of `read_random_state`."""
    return name.startswith(_CPU)
