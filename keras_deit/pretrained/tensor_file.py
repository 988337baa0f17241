"""A file of named tensors, whatever its format."""

import abc
from collections.abc import Iterable

import numpy as np


class TensorFile(abc.ABC):
    """Names and shapes at once, the tensors one by one.

    Attributes:
        source: the file as its user named it.
        shapes: of the tensors by name, without the `module.` that PyTorch's data parallelism puts
            in front.
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


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """The names in a file by what they are without a leading `module.`."""
    return {name.removeprefix("module."): name for name in names}


def first_line(error: Exception) -> str:
    """Of what another library says of a file; its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
