"""Reading what `torch.save` wrote, under any name."""

import io
import mmap
import os
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Iterable

import numpy as np

from keras_deit.core.errors import InputError, first_line
from keras_deit.core.keras_file import check_entries
from keras_deit.pretrained.pickles import Skipped, StoredTensor, numpy_dtype, read_pickle
from keras_deit.pretrained.tensor_file import TensorFile, plain_names

# The first value of PyTorch's older format.
_MAGIC = 0x1950A86A20F9469CFC6C
# What PyTorch calls the content of a module.
_MODULE = ("_parameters", "_buffers", "_modules")


class TorchFile(TensorFile):
    """A file that `torch.save` wrote: a state dict, a checkpoint that holds some, or a model.

    The names of its tensors start with the keys that lead to them, such as `model.` or
    `state_dict.`. Everything else in the file is skipped, and no code in it is run. PyTorch is not
    needed.

    Args:
        path: path of the file.
        source: the name that the user gave.

    Raises:
        InputError: it is no such file, it is cut off, or it holds no tensors.
    """

    def __init__(self, path: pathlib.Path, source: str):
        self.source = source
        try:
            with path.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                is_zip = mapped[:2] == b"PK"
                content, self._places = _read_zip(file) if is_zip else _read_legacy(mapped)
            held = list(_tensors(content))
            self._memory = memoryview(mapped)
        except InputError as error:
            raise InputError(f"{source} {error}") from error
        except Exception as error:  # a corrupt file can raise anything
            reason = first_line(error)
            raise InputError(f"{source} cannot be read as a PyTorch file: {reason}") from error
        if not held:
            kind = "one without a name" if isinstance(content, StoredTensor) else "other things"
            raise InputError(f"{source} holds no tensors by name, only {kind}.")
        names = plain_names((name for name, _, _ in held), source)
        raw = {name: (group, tensor) for name, group, tensor in held}
        self._tensors = {name: raw[key][1] for name, key in names.items()}
        self.shapes = {name: tensor.shape for name, tensor in self._tensors.items()}
        self.groups = {name: raw[key][0] for name, key in names.items()}

    def read(self, name: str) -> np.ndarray:
        tensor = self._tensors[name]
        if tensor.kind != "plain":
            raise InputError(
                f"{self.source} holds {name} as a {tensor.kind} tensor, not as a plain one."
            )
        if not tensor.is_float:
            raise InputError(f"{self.source} holds {name} as torch.{tensor.dtype}, not as floats.")
        try:
            return tensor.values(self._storage(tensor.storage.key))
        except (ValueError, TypeError) as error:
            raise InputError(f"{self.source} is corrupt at {name}: {error}.") from error

    def _storage(self, key: str) -> memoryview:
        """Returns the bytes of a storage, which must have its checksum."""
        start, stop, expected = self._places.get(key, (0, 0, None))
        memory = self._memory[start:stop]
        if expected is not None and zlib.crc32(memory) != expected:
            raise ValueError("its checksum does not match")
        # Several tensors can share a storage.
        self._places[key] = (start, stop, None)
        return memory


def _read_zip(file):
    """Returns the content of the newer format, and where its storages start and stop, with the
    CRC-32 of each."""
    with zipfile.ZipFile(file) as archive:
        check_entries(archive, os.fstat(file.fileno()).st_size)
        entries = {entry.filename: entry for entry in archive.infolist()}
        main = next(name for name in entries if name.endswith("data.pkl"))
        folder = main.removesuffix("data.pkl")
        if f"{folder}constants.pkl" in entries:
            raise InputError("holds a TorchScript program; only files of plain tensors are read.")
        order = f"{folder}byteorder"
        if order in entries and archive.read(order) != b"little":
            raise InputError("was written on a big-endian machine, which is not supported.")
        content, _ = read_pickle(io.BytesIO(archive.read(main)))
    places = {}
    for name, entry in entries.items():
        if name.startswith(f"{folder}data/"):
            if entry.compress_type != zipfile.ZIP_STORED:
                raise InputError("has compressed tensors; unpack it and save them again.")
            start = _data_start(file, entry)
            place = (start, start + entry.file_size, entry.CRC)
            places[name.removeprefix(f"{folder}data/")] = place
    return content, places


def _data_start(file, entry: zipfile.ZipInfo) -> int:
    """Returns where the bytes of an entry start, which only its local header says."""
    file.seek(entry.header_offset)
    header = file.read(30)
    if header[:4] != b"PK\x03\x04":
        raise ValueError("an entry is not where the archive says")
    name, extra = struct.unpack("<HH", header[26:])
    return entry.header_offset + 30 + name + extra


def _read_legacy(file: mmap.mmap):
    """Returns the content of the older format, and where its storages start and stop; it has no
    checksums."""
    if read_pickle(file)[0] != _MAGIC:
        raise InputError("is a pickle that torch.save did not write; only its files are read.")
    version, system = read_pickle(file)[0], read_pickle(file)[0]
    if version != 1001 or not system.get("little_endian", True):
        raise InputError("was written by a version or on a machine that is not supported.")
    content, storages = read_pickle(file)
    places = {}
    for key in read_pickle(file)[0]:
        count = int.from_bytes(file.read(8), "little", signed=True)
        start = file.tell()
        size = count * numpy_dtype(storages[str(key)].dtype).itemsize
        if count < 0 or start + size > len(file):
            raise ValueError("it is cut off")
        places[str(key)] = (start, start + size, None)
        file.seek(start + size)
    return content, places


def _tensors(content, prefix: str = "", group: str = "", seen: set | None = None):
    """Yields all tensors in a container: its name, which starts with the keys that lead to it, the
    part of it that leads to the state dict, and the tensor. A container that is there several times
    is read once."""
    seen = set() if seen is None else seen
    if id(content) in seen:
        return
    seen.add(id(content))
    for key, value in _items(content):
        if isinstance(value, StoredTensor):
            yield f"{prefix}{key}", group, value
        elif key in _MODULE:
            # A model that was saved as a whole has the names of its state dict.
            for name, inner in _items(value):
                if isinstance(inner, StoredTensor):
                    yield f"{prefix}{name}", group, inner
                else:
                    yield from _tensors(inner, f"{prefix}{name}.", group, seen)
        else:
            inner = f"{prefix}{key}."
            yield from _tensors(value, inner, inner, seen)


def _items(content) -> Iterable[tuple]:
    if isinstance(content, Skipped) and isinstance(content.state, dict):
        return (content.state | content).items()
    if isinstance(content, dict):
        return content.items()
    return enumerate(content) if isinstance(content, (list, tuple)) else ()
