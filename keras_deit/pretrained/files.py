"""Writing files."""

import contextlib
import errno
import math
import os
import pathlib
from collections.abc import Iterator

import keras

# Of a file system that cannot set room aside.
_UNABLE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def whole_or_not_at_all(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a name to write to; what was written there becomes `path` at the end.

    Where the block raises, `path` is what it was before. After the block the file is on the disk,
    also if the machine stops in the next moment.
    """
    # In front: what a file is called at its end says its format.
    partial = path.with_name(f"partial-{path.name}")
    try:
        yield partial
        to_disk(partial)
        os.replace(partial, path)
        to_disk(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def to_disk(path: pathlib.Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_weights(model: keras.Model, path: pathlib.Path) -> None:
    """Writes a `.weights.h5` file, so that it is the old one or the new one at any time.

    Raises:
        OSError: the disk has no room for it.
    """
    with whole_or_not_at_all(path) as partial:
        # HDF5 does not report a full disk while it writes: the process dies of it. Its entry for a
        # weight is shorter than this, and no dtype of a weight longer than float32.
        room = sum(8192 + 4 * math.prod(weight.shape) for weight in model.weights)
        _set_aside(partial, room)
        model.save_weights(partial)


def _set_aside(path: pathlib.Path, size: int) -> None:
    with path.open("wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in _UNABLE:
                raise
