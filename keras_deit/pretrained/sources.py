"""Where weights come from: a file in any format, or the hub."""

import os
import pathlib

from keras_deit.core.errors import InputError
from keras_deit.core.files import user_path
from keras_deit.pretrained import hub
from keras_deit.pretrained.model_tensors import ModelTensors, read_model
from keras_deit.pretrained.own_weights import OWN_SUFFIX
from keras_deit.pretrained.safetensors_file import SafetensorsFile
from keras_deit.pretrained.tensor_file import TensorFile
from keras_deit.pretrained.torch_file import TorchFile

_READERS = {
    ".safetensors": SafetensorsFile,
    ".pth": TorchFile,
    ".pt": TorchFile,
    ".bin": TorchFile,
    ".keras": lambda path, source: ModelTensors(read_model(path, source), source),
}


def local_file(source: str | pathlib.Path) -> pathlib.Path:
    """Returns the file of a source, which is downloaded if it is on the hub.

    Raises:
        InputError: there is no such file, or its format is not known.
    """
    if not isinstance(source, (str, os.PathLike)):
        raise InputError(f"Weights should be a path or {hub.PREFIX}OWNER/NAME. Received: {source}")
    if str(source).startswith(hub.PREFIX):
        return hub.download(str(source))
    path = user_path(source)
    if not is_own_weights(path) and path.suffix not in _READERS:
        formats = ", ".join([*_READERS, OWN_SUFFIX])
        raise InputError(
            f"Weights should be a file ({formats}) or {hub.PREFIX}OWNER/NAME, not {str(source)!r}."
        )
    if path.is_dir():
        raise InputError(f"{str(source)!r} is a directory, not a weights file.")
    if not path.is_file():
        raise InputError(f"There is no weights file {str(source)!r}.")
    return path


def is_own_weights(path: pathlib.Path) -> bool:
    """Returns whether a file has Keras's own format for weights, which has no tensor names."""
    return path.name.endswith(OWN_SUFFIX)


def open_tensors(path: pathlib.Path, source: str | pathlib.Path) -> TensorFile:
    """Opens the tensors of a file that `local_file` returned, other than a `.weights.h5` file.

    Args:
        path: path of the file.
        source: the name that the user gave.

    Raises:
        InputError: it cannot be read.
    """
    return _READERS[path.suffix](path, str(source))
