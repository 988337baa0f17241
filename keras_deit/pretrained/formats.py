"""What a file of weights is, told by its content, and opening it."""

import pathlib
import zipfile

import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.files import read_json
from keras_deit.core.keras_file import check_entries
from keras_deit.pretrained.model_tensors import ModelTensors, read_model
from keras_deit.pretrained.safetensors_file import SafetensorsFile
from keras_deit.pretrained.tensor_file import Joined, TensorFile, plain_names
from keras_deit.pretrained.torch_file import TorchFile

OWN_WEIGHTS = "Keras weights"
KERAS_MODEL = "Keras model"
_UNDERSTOOD = (
    "safetensors, what torch.save wrote, NumPy's npz, an index of shards, and .keras and "
    ".weights.h5 of this package"
)
# How files start that are often met in place of weights.
_STARTS = {
    b"version https://git-lfs": "a pointer of Git LFS; git lfs pull brings the file itself",
    b"<": "a page or another text of the web",
    b"GGUF": "GGUF",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"BZh": "a bzip2 archive; unpack it",
    b"\xfd7zXZ": "an xz archive; unpack it",
    b"Rar!": "a RAR archive; unpack it",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it",
    b"\x93NUMPY": "one NumPy array without a name",
}


def file_format(path: pathlib.Path, source: str) -> str:
    """Returns the format of a file: one of `_READERS`, or `OWN_WEIGHTS`.

    Args:
        path: path of the file; its suffix does not matter.
        source: the name that the user gave.

    Raises:
        InputError: it is something else; the message says what, if it is known.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return OWN_WEIGHTS
    if start.startswith(b"PK\x03\x04"):
        return _zip_format(path, source)
    # The length of the header, which is JSON.
    length = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and length <= path.stat().st_size:
        return "safetensors"
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        return "PyTorch"
    if start.lstrip().startswith(b"{"):
        return "index"
    raise _unknown(source, _what(start))


def _what(start: bytes) -> str:
    if not start:
        return "nothing, it is empty"
    known = [what for mark, what in _STARTS.items() if start.lstrip().startswith(mark)]
    if start[257:262] == b"ustar":
        known = ["a tar archive; unpack it, or save the weights with PyTorch 0.4 or later"]
    is_text = all(byte >= 32 or byte in b"\t\r\n" for byte in start)
    return known[0] if known else "text" if is_text else "bytes of an unknown format"


def _unknown(source: str, what: str) -> InputError:
    return InputError(f"{source} holds {what}. Weights are read from {_UNDERSTOOD}.")


def _zip_format(path: pathlib.Path, source: str) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise InputError(
            f"{source} cannot be read: it is a zip archive that is cut off or corrupt."
        ) from error
    if {"config.json", "model.weights.h5"} & set(names):
        return KERAS_MODEL
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return "PyTorch"
    if names and all(name.endswith(".npy") for name in names):
        return "NumPy"
    shown = ", ".join(names[:3]) or "nothing"
    raise _unknown(source, f"a zip archive of other things ({shown})")


class NumpyFile(TensorFile):
    """Arrays by name that `numpy.savez` wrote.

    Args:
        path: path of the file.
        source: the name that the user gave.

    Raises:
        InputError: it cannot be read.
    """

    def __init__(self, path: pathlib.Path, source: str):
        self.source = source
        try:
            with zipfile.ZipFile(path) as archive:
                check_entries(archive, path.stat().st_size)
            with np.load(path) as held:
                arrays = {name: held[name] for name in held.files}
        except Exception as error:  # a corrupt file can raise anything
            raise InputError(f"{source} cannot be read as NumPy's npz: {error}") from error
        names = plain_names(arrays, source)
        self._arrays = {name: arrays[raw] for name, raw in names.items()}
        self.shapes = {name: array.shape for name, array in self._arrays.items()}

    def read(self, name: str) -> np.ndarray:
        array = self._arrays[name]
        if array.dtype.kind != "f":
            raise InputError(f"{self.source} holds {name} as {array.dtype}, not as floats.")
        return array.astype("float32")


def _open_shards(path: pathlib.Path, source: str) -> TensorFile:
    """Opens the files that an index of Hugging Face names, of safetensors or of PyTorch."""
    places = read_json(path, f"{source} is no index of shards").get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(x, str) for x in places.values()):
        raise _unknown(source, "JSON that is no index of shards")
    names = sorted(set(places.values()))
    outside = [name for name in names if pathlib.PurePath(name).name != name]
    if outside or not names:
        raise InputError(f"{source} should name files beside it. Received: {outside or names}")
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise InputError(
            f"{source} names {len(names)} files, and {len(missing)} of them are missing: "
            f"{', '.join(missing[:5])}."
        )
    shards = [open_tensors(path.parent / name, str(path.parent / name)) for name in names]
    return Joined(source, shards)


_READERS = {
    "safetensors": SafetensorsFile,
    "PyTorch": TorchFile,
    "NumPy": NumpyFile,
    "index": _open_shards,
    KERAS_MODEL: lambda path, source: ModelTensors(read_model(path, source), source),
}


def open_tensors(path: pathlib.Path, source: str) -> TensorFile:
    """Opens the tensors of a file, other than one of Keras's weights, which have no names.

    Args:
        path: path of the file.
        source: the name that the user gave.

    Raises:
        InputError: it cannot be read.
    """
    held = file_format(path, source)
    if held == OWN_WEIGHTS:
        raise InputError(f"{source} holds {held}, which have no names.")
    return _READERS[held](path, source)
