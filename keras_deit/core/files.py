"""Files that are written completely or not at all."""

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import pathlib
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import TextIO

import keras

from keras_deit.core.errors import InputError
from keras_deit.core.processes import is_writer

# The errors of file systems that cannot reserve space.
_CANNOT_RESERVE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)

# How often a lock that another process holds is tried again.
_LOCK_SECONDS = 0.5


@contextlib.contextmanager
def atomic_write(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary path; at the end of the block, that file replaces `path`.

    If the block raises, `path` stays as it was. After the block the file is on the disk, even if
    the machine loses power in the next moment.
    """
    # The marker is a prefix because the end of a name tells the file format.
    partial = path.with_name(f"partial-{path.name}")
    try:
        yield partial
        fsync(partial)
        os.replace(partial, path)
        fsync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def named(path: pathlib.Path, name: str) -> Iterator[pathlib.Path]:
    """Yields a path of the same file with another name, because Keras tells formats by suffixes."""
    with tempfile.TemporaryDirectory() as folder:
        link = pathlib.Path(folder, name)
        link.symlink_to(path.absolute())
        yield link


def user_path(text: str | os.PathLike) -> pathlib.Path:
    """Returns a path as a user wrote it, with ~ for the home folder.

    Raises:
        InputError: it is the address of a bucket or a server.
    """
    scheme = re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:/", str(text))
    if scheme:
        raise InputError(
            f"{str(text)!r} is not a path of a file system: {scheme[0]}/ addresses are not "
            "supported. Mount the bucket (gcsfuse, s3fs) and give its path."
        )
    return pathlib.Path(text).expanduser()


def fsync(path: pathlib.Path) -> None:
    """Waits until a file, or the entries of a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_weights(model: keras.Model, path: pathlib.Path) -> None:
    """Writes a `.weights.h5` file atomically.

    Raises:
        OSError: the disk is full.
    """
    with atomic_write(path) as partial:
        # HDF5 aborts the process when the disk fills up during a write, so the space is reserved
        # first. An entry has less than 8 KiB of overhead, and no weight is wider than float32.
        size = sum(8192 + 4 * math.prod(weight.shape) for weight in model.weights)
        _reserve(partial, size)
        model.save_weights(partial)


def _reserve(path: pathlib.Path, size: int) -> None:
    with path.open("wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in _CANNOT_RESERVE:
                raise


def write_json(path: pathlib.Path, values: dict) -> None:
    """Writes a JSON file atomically."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")


def read_json(path: pathlib.Path, complaint: str) -> dict:
    """Reads a JSON object.

    Args:
        path: path of the file.
        complaint: the beginning of the error message.

    Raises:
        InputError: the file cannot be read or does not hold a JSON object.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{complaint}: {path.name} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise InputError(f"{complaint}: {path.name} is not JSON ({error}).") from error
    if not isinstance(values, dict):
        raise InputError(f"{complaint}: {path.name} is not a JSON object.")
    return values


def file_digest(path: str | os.PathLike) -> str:
    """Returns the SHA-256 digest of a file's contents, in hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_writable(path: pathlib.Path) -> None:
    """Checks that a file can be written, without writing it or creating its folder.

    Raises:
        InputError: the nearest existing folder above the file is not writable.
    """
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"{path} cannot be written: {folder} is not a writable folder.")


@contextlib.contextmanager
def exclusive_lock(
    path: pathlib.Path, wait_fn: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Holds a lock file during the block; the lock ends with the process at the latest.

    Of several processes that train together, only the one that writes files takes the lock.

    Args:
        path: path of the lock file. The holder may remove it.
        wait_fn: called once, with the process that holds the lock, before waiting for it; None for
            an error instead of waiting.

    Raises:
        InputError: another process holds the lock, and there is no `wait_fn`.
    """
    if not is_writer():
        yield
        return
    file = _locked(path)
    if file is None and wait_fn is None:
        raise InputError(f"Another process is training {path.parent}: {_holder(path)}.")
    if file is None:
        wait_fn(_holder(path))
    while file is None:
        # Not waiting in the system call, so that every signal is answered.
        time.sleep(_LOCK_SECONDS)
        file = _locked(path)
    with file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _locked(path: pathlib.Path) -> TextIO | None:
    """Returns the open lock file with the lock; None if another process holds it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Opening it to append keeps what the holder has written into it.
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process could lock a new file if this one had been removed meanwhile.
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except BlockingIOError:
            file.close()
            return None
        except FileNotFoundError:
            pass
        file.close()


def _holder(path: pathlib.Path) -> str:
    try:
        return path.read_text("utf-8") or "one that has just begun"
    except OSError:
        return "one that has just ended"
