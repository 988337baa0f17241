"""Reading .safetensors."""

import json
import pathlib
from collections.abc import Iterable

import numpy as np

from keras_deit.core.errors import InputError, first_line
from keras_deit.pretrained.tensor_file import TensorFile, plain_names

# The metadata of this package's files: JSON, {tensor: [rows, columns]} of those whose shape depends
# on the image size. In older files [rows, columns] of the patches, for every tensor that it fits.
GRID_KEY = "patch_grid"
# JSON, [mean, std], if they are not ImageNet's.
NORMALIZATION_KEY = "image_normalization"
_FLOATS = ("F64", "F32", "F16", "BF16")


class SafetensorsFile(TensorFile):
    """A .safetensors file: its header is read at once, each tensor when it is needed.

    Args:
        path: path of the file.
        source: the name that the user gave.

    Raises:
        InputError: it is no such file, or it is truncated.
    """

    def __init__(self, path: pathlib.Path, source: str):
        import ml_dtypes  # noqa: F401  (Keras's own dependency; gives NumPy bfloat16)
        from safetensors import SafetensorError, safe_open

        self.source = source
        try:
            self._file = safe_open(path, framework="numpy", backend="pread")
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{source} cannot be read as safetensors: {first_line(error)}."
            ) from error
        self._names = plain_names(self._file.keys(), source)
        slices = {name: self._file.get_slice(held) for name, held in self._names.items()}
        self.shapes = {name: tuple(piece.get_shape()) for name, piece in slices.items()}
        self._dtypes = {name: piece.get_dtype() for name, piece in slices.items()}
        metadata = self._file.metadata() or {}
        self.grids = _grids(metadata, self.shapes)
        if NORMALIZATION_KEY in metadata:
            self.normalization = tuple(json.loads(metadata[NORMALIZATION_KEY]))

    def read(self, name: str) -> np.ndarray:
        dtype = self._dtypes[name]
        if dtype not in _FLOATS:
            raise InputError(
                f"{self.source} holds {name} as {dtype}; weights should be {', '.join(_FLOATS)}."
            )
        return self._file.get_tensor(self._names[name]).astype("float32", copy=False)


def _grids(metadata: dict[str, str], names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Returns the grids that are valid, because another program may use the same key."""
    try:
        held = json.loads(metadata.get(GRID_KEY, "{}"))
    except ValueError:
        return {}
    held = held if isinstance(held, dict) else dict.fromkeys(names, held)
    return {name: tuple(grid) for name, grid in held.items() if _is_grid(grid)}


def _is_grid(value) -> bool:
    is_pair = isinstance(value, list) and len(value) == 2
    return is_pair and all(type(side) is int and side > 0 for side in value)
