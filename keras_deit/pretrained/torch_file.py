"""Reading PyTorch's .pth, .pt and .bin."""

import argparse
import pathlib
import re
import warnings

import numpy as np

from keras_deit.core.errors import InputError, first_line, not_installed
from keras_deit.pretrained.tensor_file import TensorFile, plain_names

# The keys of the weights in checkpoints, beside the optimizer, the epoch and the arguments. The
# averaged weights (`model_ema`) are not read, because the authors evaluate `model`.
_NESTS = ("model", "state_dict")


class TorchFile(TensorFile):
    """A file that `torch.save` wrote: tensors by name, flat or under `model` or `state_dict`.

    Only tensors, plain containers, and the `argparse.Namespace` of released files are read; no code
    in a file is run.

    Args:
        path: path of the file.
        source: the name that the user gave.

    Raises:
        InputError: PyTorch is not installed, or the file is not PyTorch's, holds more than tensors,
            or no tensors.
    """

    def __init__(self, path: pathlib.Path, source: str):
        self.source = source
        self._tensors = _tensors(_load(path, source), source)
        self.shapes = {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}

    def read(self, name: str) -> np.ndarray:
        # It is freed at once, because the older format is in memory as a whole.
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
        instead = "A .safetensors file of the same weights can be read without PyTorch."
        raise not_installed(f"Reading {source}", "torch", instead) from error
    with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
        # It warns of files that are refused below.
        warnings.simplefilter("ignore", UserWarning)
        try:
            # Only PyTorch's newer format, a zip file, can be mapped into memory.
            return torch.load(path, "cpu", weights_only=True, mmap=_is_zip(path))
        except Exception as error:  # a corrupt file can raise anything
            raise InputError(_complaint(source, error)) from error


def _is_zip(path: pathlib.Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _complaint(source: str, error: Exception) -> str:
    # PyTorch advises to read the file without weights_only, which runs code in it.
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
        reason = "it is corrupt, or another format"
    return f"{source} cannot be read as a PyTorch file: {reason}"


def _tensors(content, source: str) -> dict:
    """Returns the weights by plain name."""
    import torch

    for nest in _NESTS:
        if isinstance(content, dict) and isinstance(content.get(nest), dict):
            content = content[nest]
            break
    if not isinstance(content, dict) or not content:
        raise InputError(f"{source} holds no tensors by name, but a {type(content).__name__}.")
    others = [name for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise InputError(
            f"{source} should hold tensors by name, flat or under 'model' or 'state_dict'; its "
            f"{others[0]!r} is a {type(content[others[0]]).__name__}."
        )
    return {name: content[held] for name, held in plain_names(content, source).items()}
