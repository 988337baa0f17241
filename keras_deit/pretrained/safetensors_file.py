"""Reading .safetensors, whose binary weights may be bits."""

import json
import math
import pathlib
import zlib
from collections.abc import Iterable

import numpy as np

from keras_deit.core.errors import InputError, first_line
from keras_deit.core.files import array_bytes, parse_json
from keras_deit.pretrained.binary_weights import BITS, SUMS, packed_shapes, tensor_of, unpack
from keras_deit.pretrained.tensor_file import TensorFile, plain_names

# The metadata of this package's files: JSON, {tensor: [rows, columns]} of those whose shape depends
# on the image size. In older files [rows, columns] of the patches, for every tensor that it fits.
GRID_KEY = "patch_grid"
# JSON, [mean, std], if they are not ImageNet's.
NORMALIZATION_KEY = "image_normalization"
# JSON, the result of `model_record`, and {tensor: CRC-32 of its bytes}, where an empty name stands
# for the other metadata.
RECORD_KEY, CHECKSUMS_KEY = "keras_deit", "crc32"
# JSON, {tensor: {"shape": its shape, "axis": that of its outputs}} of those that are bits.
BINARY_KEY = "binary"
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
        self.normalization = _own(metadata, NORMALIZATION_KEY, source)
        self.record = _own(metadata, RECORD_KEY, source)
        if self.record is not None:
            self.normalization = self.record.get("normalization")
        # Another program may use the same key for something else.
        is_own = self.record is not None or '"": ' in metadata.get(CHECKSUMS_KEY, "")
        self._checksums = (_own(metadata, CHECKSUMS_KEY, source) if is_own else None) or {}
        if self._checksums and self._checksums.get("") != metadata_checksum(metadata):
            raise InputError(f"{source} is corrupt: the checksum of its metadata does not match.")
        self._binary = (_own(metadata, BINARY_KEY, source) if is_own else None) or {}
        for name, shape in packed_shapes(self._binary, self.shapes, source).items():
            del self.shapes[name + BITS], self.shapes[name + SUMS]
            self.shapes[name] = shape

    @property
    def binary_names(self) -> tuple[str, ...]:
        """The names of the tensors that are bits."""
        return tuple(self._binary)

    def packed_bytes(self, name: str) -> int:
        """Returns the bytes of a tensor that is bits."""
        shape = self.shapes[name]
        outputs = shape[self._binary[name]["axis"]]
        return outputs * (-(-math.prod(shape) // outputs // 8) + 4)

    def read(self, name: str) -> np.ndarray:
        if name in self._binary:
            shape, axis = self.shapes[name], self._binary[name]["axis"]
            signs, sums = (self._checked(name + part) for part in (BITS, SUMS))
            if signs.dtype != np.uint8 or sums.dtype != np.float32:
                raise InputError(f"{self.source} is corrupt: {name} is not of bits and float32.")
            rows = unpack(signs, sums, math.prod(shape) // shape[axis])
            return tensor_of(rows, shape, axis)
        dtype = self._dtypes[name]
        if dtype not in _FLOATS:
            raise InputError(
                f"{self.source} holds {name} as {dtype}; weights should be {', '.join(_FLOATS)}."
            )
        return self._checked(name).astype("float32", copy=False)

    def _checked(self, name: str) -> np.ndarray:
        """Returns what the file holds by a name, if its checksum matches."""
        held = self._names[name]
        tensor = self._file.get_tensor(held)
        if held in self._checksums and self._checksums[held] != checksum(tensor):
            raise InputError(f"{self.source} is corrupt: the checksum of {name} does not match.")
        return tensor


def checksum(tensor: np.ndarray) -> int:
    """Returns the CRC-32 of a tensor's bytes."""
    return zlib.crc32(array_bytes(tensor))


def metadata_checksum(metadata: dict[str, str]) -> int:
    """Returns the CRC-32 of all metadata but the checksums."""
    others = sorted(pair for pair in metadata.items() if pair[0] != CHECKSUMS_KEY)
    return zlib.crc32(json.dumps(others).encode())


def _own(metadata: dict[str, str], key: str, source: str):
    """Returns the value of one of this package's keys; None if it is missing."""
    if key not in metadata:
        return None
    try:
        value = parse_json(metadata[key])
    except ValueError as error:
        raise InputError(f"{source} is corrupt: its {key} is not JSON ({error}).") from error
    kind = list if key == NORMALIZATION_KEY else dict
    if not isinstance(value, kind):
        raise InputError(f"{source} is corrupt: its {key} is {type(value).__name__}.")
    return value


def _grids(metadata: dict[str, str], names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Returns the grids that are valid, because another program may use the same key."""
    try:
        held = parse_json(metadata.get(GRID_KEY, "{}"))
    except ValueError:
        return {}
    held = held if isinstance(held, dict) else dict.fromkeys(names, held)
    return {name: tuple(grid) for name, grid in held.items() if _is_grid(grid)}


def _is_grid(value) -> bool:
    is_pair = isinstance(value, list) and len(value) == 2
    return is_pair and all(type(side) is int and side > 0 for side in value)
