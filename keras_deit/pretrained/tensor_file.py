"""A file of named tensors, whatever its format."""

import abc
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from keras_deit.core.errors import InputError

# What torch.compile, FSDP and activation checkpointing add to names, wherever they wrap a module.
_WRAPPERS = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


class TensorFile(abc.ABC):
    """The base of all formats: names and shapes at once, the tensors one by one.

    Attributes:
        source: the name that the user gave.
        shapes: shapes of the tensors by name. Names of a checkpoint start with the keys that lead
            to them.
        groups: by the name of a tensor, the beginning of it that leads to the state dict that it is
            in; empty where it is missing.
        grids: by the name of a tensor whose shape depends on the image size, the rows and columns
            that it was made for; only what the file says.
        normalization: mean and std of the images, as in `ImageFormat`, if the file says it.
        record: the model that wrote the file, see `model_record`, if the file says it.
    """

    source: str
    shapes: dict[str, tuple[int, ...]]
    groups: Mapping[str, str] = MappingProxyType({})
    grids: Mapping[str, tuple[int, int]] = MappingProxyType({})
    normalization: tuple[Sequence[float], Sequence[float]] | None = None
    record: dict | None = None

    @abc.abstractmethod
    def read(self, name: str) -> np.ndarray:
        """Returns a tensor as a float32 array of its own.

        Raises:
            InputError: its dtype is not that of weights.
        """


class Renamed(TensorFile):
    """Some tensors of a file, by other names.

    Args:
        file: the file.
        names: names in the file by the names here.
    """

    def __init__(self, file: TensorFile, names: Mapping[str, str]):
        self.source = file.source
        self.shapes = {name: file.shapes[held] for name, held in names.items()}
        self.grids = {name: file.grids[held] for name, held in names.items() if held in file.grids}
        self._file, self._names = file, names

    def read(self, name: str) -> np.ndarray:
        return self._file.read(self._names[name])


class Joined(TensorFile):
    """The tensors of several files, the shards of one.

    Args:
        source: the name that the user gave.
        files: the files.
    """

    def __init__(self, source: str, files: Iterable[TensorFile]):
        self.source = source
        self._owners = {name: file for file in files for name in file.shapes}
        self.shapes = {name: file.shapes[name] for name, file in self._owners.items()}
        self.grids = {
            name: file.grids[name] for name, file in self._owners.items() if name in file.grids
        }

    def read(self, name: str) -> np.ndarray:
        return self._owners[name].read(name)


def plain_names(names: Iterable[str], source: str) -> dict[str, str]:
    """Returns the names in a file by the name without what wraps a module, such as `_orig_mod.`.

    Args:
        names: as they are in the file.
        source: the name that the user gave.

    Raises:
        InputError: there are no names, or two are the same without the wrapper.
    """
    plain = {}
    for held in names:
        name = _WRAPPERS.sub("", held)
        if name in plain:
            raise InputError(f"{source} holds {name} twice, as {plain[name]} and as {held}.")
        plain[name] = held
    if not plain:
        raise InputError(f"{source} holds no tensors.")
    return plain
