"""`.weights.h5` files: what Keras writes, with a record of the model that Keras ignores."""

import contextlib
import errno
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_deit.core.files import array_bytes, atomic_write, parse_json
from keras_deit.core.keras_internals import STORED_WEIGHTS
from keras_deit.models import Classifier
from keras_deit.models.records import model_record

# The errors of file systems that cannot reserve space.
_CANNOT_RESERVE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
# The dataset with the record: UTF-8 bytes of JSON.
_RECORD, _CHECKSUM = "keras_deit", "sha256"
# How Keras stores bfloat16, which HDF5 lacks.
_BFLOAT16 = "bfloat16"


class Kind(NamedTuple):
    """What must be the same of a weight in a file and in a model.

    Attributes:
        shape: its shape.
        is_float: whether it is a floating-point number, not an integer.
    """

    shape: tuple[int, ...]
    is_float: bool


def write_weights(model: keras.Model, path: pathlib.Path) -> None:
    """Writes a `.weights.h5` file atomically.

    That of a model of this package has a record of its configuration and a checksum.

    Raises:
        OSError: the disk is full.
    """
    import h5py  # Keras's own dependency

    with atomic_write(path) as partial:
        # HDF5 aborts the process when the disk fills up during a write, so the space is reserved
        # first. An entry has less than 8 KiB of overhead, and no weight is wider than float32.
        size = sum(8192 + 4 * math.prod(weight.shape) for weight in model.weights)
        _reserve(partial, size)
        model.save_weights(partial)
        if not isinstance(model, Classifier):
            return
        with h5py.File(partial, "r+") as file:
            record = model_record(model)
            record[_CHECKSUM] = _checksum(file, record)
            file[_RECORD] = np.frombuffer(json.dumps(record).encode(), np.uint8)


def _reserve(path: pathlib.Path, size: int) -> None:
    with path.open("wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in _CANNOT_RESERVE:
                raise


class WeightsFile:
    """An opened `.weights.h5` file, none of whose datasets claims more than the file holds.

    Attributes:
        kinds: shapes and kinds of the weights.
        record: what `model_record` has said of the model that wrote it; None if it does not say.
    """

    def __init__(self, file, size: int):
        self._file = file
        self._datasets = dict(_datasets(file))
        for name, item in self._datasets.items():
            elsewhere = item.is_virtual or item.external
            if elsewhere or item.id.get_storage_size() < item.nbytes or item.nbytes > size:
                raise ValueError(f"{name} claims values that the file does not hold.")
        self.kinds = [
            Kind(item.shape, item.dtype.kind == "f" or item.attrs.get("dtype") == _BFLOAT16)
            for item in self._weights()
        ]
        self.record: dict[str, Any] | None = None
        if _RECORD in self._datasets:
            record = parse_json(self._datasets[_RECORD][()].tobytes())
            self._checksum = record.pop(_CHECKSUM)
            self.record = record

    def check_values(self) -> None:
        """Checks that the values are those that were written, as far as the file tells.

        Raises:
            ValueError: they are not, or one of them is not finite.
        """
        if self.record is not None and self._checksum != _checksum(self._file, self.record):
            raise ValueError("it is corrupt: its checksum does not match.")
        for item in self._weights():
            if item.dtype.kind not in "fiub":
                raise ValueError(f"it holds {item.name} as {item.dtype}, not as real numbers.")
            if not np.isfinite(item[()]).all():
                raise ValueError(f"it is corrupt: {item.name} has values that are not finite.")

    def _weights(self) -> list:
        return [x for name, x in self._datasets.items() if name.startswith(STORED_WEIGHTS)]


@contextlib.contextmanager
def open_weights(path: pathlib.Path) -> Iterator[WeightsFile]:
    """Opens a `.weights.h5` file.

    Raises:
        Exception: of any kind, because h5py raises anything for a corrupt file.
    """
    import h5py

    with h5py.File(path) as file:
        yield WeightsFile(file, path.stat().st_size)


def _datasets(file) -> list[tuple]:
    import h5py

    found = []
    file.visititems(lambda *pair: found.append(pair) if isinstance(pair[1], h5py.Dataset) else None)
    return sorted(found, key=lambda pair: pair[0])


def _checksum(file, record: dict) -> str:
    digest = hashlib.sha256(json.dumps(record).encode())
    for name, item in _datasets(file):
        if name.startswith(STORED_WEIGHTS):
            kind = (item.dtype, item.shape, item.attrs.get("dtype"))
            digest.update(f"{name} {kind}".encode())
            digest.update(array_bytes(item[()]))
    return digest.hexdigest()
