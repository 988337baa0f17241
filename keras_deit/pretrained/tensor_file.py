"""A file of named tensors, whatever its format."""

import abc
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np

from keras_deit.core.errors import InputError


class TensorFile(abc.ABC):
    """The base of all formats: names and shapes at once, the tensors one by one.

    Attributes:
        source: the name that the user gave.
        shapes: shapes of the tensors by name, without the prefix `model.` of nested weights and the
            `module.` of PyTorch's data parallelism.
        grids: by the name of a tensor whose shape depends on the image size, the rows and columns
            that it was made for; only what the file says.
    """

    source: str
    shapes: dict[str, tuple[int, ...]]
    grids: Mapping[str, tuple[int, int]] = MappingProxyType({})

    @abc.abstractmethod
    def read(self, name: str) -> np.ndarray:
        """Returns a tensor as a float32 array of its own. Each is read once.

        Raises:
            InputError: its dtype is not that of weights.
        """


def plain_names(names: Iterable[str], source: str) -> dict[str, str]:
    """Returns the names in a file by the name without a leading `model.`, `module.` or both.

    Args:
        names: as they are in the file.
        source: the name that the user gave.

    Raises:
        InputError: there are no names, one is not a string, or two are the same without the prefix.
    """
    plain = {}
    for held in names:
        if not isinstance(held, str):
            raise InputError(f"{source} holds no tensors by name; it has one under {held!r}.")
        name = held.removeprefix("model.").removeprefix("module.")
        if name in plain:
            raise InputError(f"{source} holds {name} twice, as {plain[name]} and as {held}.")
        plain[name] = held
    if not plain:
        raise InputError(f"{source} holds no tensors.")
    return plain
