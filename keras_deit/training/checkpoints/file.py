"""A checkpoint file: tensors and metadata, written atomically, with a checksum."""

import hashlib
import json
import pathlib

import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.files import array_bytes, atomic_write, parse_json

_METADATA, _CHECKSUM = "record", "sha256"


def write_checkpoint(path: pathlib.Path, tensors: dict[str, np.ndarray], metadata: dict) -> None:
    """Writes a .safetensors file with metadata and a checksum in its header.

    When this returns, the file is on the disk, even if the machine loses power in the next moment.

    Args:
        path: path of the file; an existing one is replaced at the end, in one step.
        tensors: by name.
        metadata: JSON values.

    Raises:
        InputError: it cannot be written; the file is then what it was before.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    text = json.dumps(metadata)
    try:
        with atomic_write(path) as partial:
            save_file(tensors, partial, {_METADATA: text, _CHECKSUM: _checksum(tensors, text)})
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"The checkpoint {path} cannot be written: {reason}.") from error


def read_checkpoint(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict]:
    """Returns the tensors and the metadata of a checkpoint.

    Raises:
        InputError: it cannot be read, or it is corrupt.
    """
    import ml_dtypes  # noqa: F401  (Keras depends on it; it teaches NumPy bfloat16.)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy", backend="pread") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = parse_json(header[_METADATA])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"The checkpoint {path} cannot be read: {reason}.") from error
    if header.get(_CHECKSUM) != _checksum(tensors, header[_METADATA]):
        raise InputError(f"The checkpoint {path} is corrupt: its checksum does not match.")
    return tensors, metadata


def _checksum(tensors: dict[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(array_bytes(tensors[name]))
    return digest.hexdigest()
