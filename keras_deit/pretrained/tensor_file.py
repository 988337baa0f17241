"""A file of named tensors, whatever its format."""

import abc
from collections.abc import Iterable

import numpy as np

from keras_deit.core.errors import InputError


class TensorFile(abc.ABC):
    """Names and shapes at once, the tensors one by one.

    Attributes:
        source: the file as its user named it.
        shapes: of the tensors by name, without the `model.` of what was nested and the `module.`
            that PyTorch's data parallelism puts in front.
        grid: rows and columns of the patches that its positions are for, where the file says.
    """

    source: str
    shapes: dict[str, tuple[int, ...]]
    grid: tuple[int, int] | None = None

    @abc.abstractmethod
    def read(self, name: str) -> np.ndarray:
        """One tensor as float32, in memory of its own. Each is read once.

        Raises:
            InputError: its numbers are of a kind that no weight has.
        """


def plain_names(names: Iterable[str], source: str) -> dict[str, str]:
    """The names in a file by what they are without a leading `model.`, `module.` or both.

    Args:
        names: as they are in the file.
        source: the file as its user named it.

    Raises:
        InputError: there are none, one is no name, or two are the same without these.
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
