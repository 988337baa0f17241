"""One file with tensors and a record, that is whole or not there, and says when it is broken."""

import hashlib
import json
import pathlib

import numpy as np

from keras_deit.errors import InputError
from keras_deit.pretrained.files import whole_or_not_at_all

_RECORD, _CHECKSUM = "record", "sha256"


def write_checkpoint(path: pathlib.Path, tensors: dict[str, np.ndarray], record: dict) -> None:
    """Writes a .safetensors file with a record and a checksum in its header.

    When this returns the file is on the disk, also if the machine stops in the next moment.

    Args:
        path: of the file; one that is there is replaced at the end, in one step.
        tensors: by name.
        record: JSON values.

    Raises:
        InputError: it cannot be written; the file is then what it was before.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    text = json.dumps(record)
    try:
        with whole_or_not_at_all(path) as partial:
            save_file(tensors, partial, {_RECORD: text, _CHECKSUM: _checksum(tensors, text)})
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"The checkpoint {path} cannot be written: {reason}.") from error


def read_checkpoint(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict]:
    """The tensors and the record of a checkpoint.

    Raises:
        InputError: it cannot be read, or is not what was written.
    """
    import ml_dtypes  # noqa: F401  (Keras's own dependency; teaches NumPy bfloat16)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy", backend="pread") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        record = json.loads(metadata[_RECORD])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"The checkpoint {path} cannot be read: {reason}.") from error
    if metadata.get(_CHECKSUM) != _checksum(tensors, metadata[_RECORD]):
        raise InputError(f"The checkpoint {path} is broken: its checksum does not fit.")
    return tensors, record


def _checksum(tensors: dict[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).reshape(-1).view(np.uint8))
    return digest.hexdigest()
