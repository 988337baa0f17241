"""Reading PyTorch's .pth, .pt and .bin."""

import argparse
import pathlib
import re
import warnings

import numpy as np

from keras_deit.core.errors import InputError, first_line
from keras_deit.pretrained.tensor_file import TensorFile, plain_names

# Where checkpoints keep the weights, beside the optimizer, the epoch and the arguments. Averaged
# weights (`model_ema`) are not read: the authors evaluate `model`.
_NESTS = ("model", "state_dict")


class TorchFile(TensorFile):
    """A file that `torch.save` wrote: tensors by name, flat or under `model` or `state_dict`.

    Only tensors and plain containers are read, and the `argparse.Namespace` that released files
    carry: nothing in a file is run.

    Args:
        path: of the file.
        source: as its user named it.

    Raises:
        InputError: PyTorch is not there, or the file is none of its own, holds more than tensors,
            or no tensors.
    """

    def __init__(self, path: pathlib.Path, source: str):
        self.source = source
        self._tensors = _tensors(_load(path, source), source)
        self.shapes = {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}

    def read(self, name: str) -> np.ndarray:
        # Let go of at once: the older format is in memory as a whole.
        tensor = self._tensors.pop(name)
        if not tensor.is_floating_point():
            raise InputError(f"{self.source} holds {name} as {tensor.dtype}, not as floats.")
        if tensor.is_sparse or tensor.is_sparse_csr or tensor.is_meta:
            kind = "meta" if tensor.is_meta else "sparse"
            raise InputError(f"{self.source} holds {name} as a {kind} tensor, not as a plain one.")
        return np.array(tensor.detach().float().numpy())


def _load(path: pathlib.Path, source: str):
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"Reading {source} needs PyTorch, which is not installed; a .safetensors file of the "
            "same weights can be read without."
        ) from error
    with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
        # Of files that are then refused.
        warnings.simplefilter("ignore", UserWarning)
        try:
            # Only PyTorch's newer format, a zip file, can be mapped into memory.
            return torch.load(path, "cpu", weights_only=True, mmap=_is_zip(path))
        except Exception as error:  # it may be anything, of a file that is broken
            raise InputError(_complaint(source, error)) from error


def _is_zip(path: pathlib.Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _complaint(source: str, error: Exception) -> str:
    # PyTorch would have its users read the file without weights_only, which runs what is in it.
    wanted = re.search(r"GLOBAL (\S+)", str(error))
    if wanted:
        return f"{source} wants to run {wanted[1]}; only files of plain tensors are read."
    if "TorchScript" in str(error):
        return f"{source} holds a TorchScript program; only files of plain tensors are read."
    unpickler = re.search(r"WeightsUnpickler error:\s*(.+)", str(error))
    if unpickler:
        reason = unpickler[1]
    elif isinstance(error, (RuntimeError, ValueError, OSError, EOFError)):
        reason = first_line(error)
    else:
        reason = "it is none, or a broken one"
    return f"{source} cannot be read as a PyTorch file: {reason}"


def _tensors(content, source: str) -> dict:
    """The weights by plain name."""
    import torch

    for nest in _NESTS:
        if isinstance(content, dict) and isinstance(content.get(nest), dict):
            content = content[nest]
            break
    if not isinstance(content, dict) or not content:
        raise InputError(f"{source} holds no tensors by name, but a {type(content).__name__}.")
    strangers = [name for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if strangers:
        raise InputError(
            f"{source} should hold tensors by name, flat or under 'model' or 'state_dict'; its "
            f"{strangers[0]!r} is a {type(content[strangers[0]]).__name__}."
        )
    return {name: content[held] for name, held in plain_names(content, source).items()}
