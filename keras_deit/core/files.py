"""Files that are written completely or not at all."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, TextIO

import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.processes import is_writer

# The errors of a disk that is full or fails.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
# The names of temporary folders, and the file in each that the process in it holds a lock on.
_TEMPORARY = re.compile(r"partial-[a-z0-9_]{8}\.tmp")
_LOCK = "writer.lock"

# How often a lock that another process holds is tried again.
_LOCK_SECONDS = 0.5


@contextlib.contextmanager
def atomic_write(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary path; at the end of the block, that file replaces `path`.

    If the block raises, `path` stays as it was. After the block the file is on the disk, even if
    the machine loses power in the next moment. Of several processes that write the same path the
    last one wins. The file has the mode that the umask asks for.

    Raises:
        OSError: the disk is full, however the library that writes the file says so.
    """
    with temporary_folder(path.parent) as folder:
        partial = folder / path.name
        yield partial
        # The library safetensors creates its files for the owner alone.
        partial.chmod(stat.S_IMODE((folder / _LOCK).stat().st_mode))
        fsync(partial)
        os.replace(partial, path)
        fsync(path.parent)


@contextlib.contextmanager
def temporary_folder(parent: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a new folder in `parent`, which is removed at the end of the block.

    What is finished is moved out of it, atomically because it is on the same file system. A lock
    in the folder tells other processes that it is in use: whoever makes the next folder there
    removes those of processes that were killed.

    Raises:
        OSError: the disk is full, however the library that writes there says so.
    """
    _remove_leftovers(parent)
    folder, lock = _locked_folder(parent)
    try:
        with _disk_errors_as_os_errors():
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def _locked_folder(parent: pathlib.Path) -> tuple[pathlib.Path, IO]:
    while True:
        folder = pathlib.Path(tempfile.mkdtemp(".tmp", "partial-", parent))
        # Between two of these lines another process may take the folder for a leftover.
        with contextlib.suppress(FileNotFoundError):
            lock = (folder / _LOCK).open("w")
            with contextlib.suppress(OSError):  # A file system without locks.
                fcntl.flock(lock, fcntl.LOCK_EX)
            if (folder / _LOCK).exists():
                return folder, lock
            lock.close()


def _remove_leftovers(parent: pathlib.Path) -> None:
    """Removes the temporary folders of processes that are gone."""
    names = []
    with contextlib.suppress(PermissionError):
        names = [name for name in os.listdir(parent) if is_temporary(name)]
    for folder in map(parent.joinpath, names):
        # A folder in use, or somebody else's, or on a file system without locks stays.
        with contextlib.suppress(OSError):
            if not (folder / _LOCK).exists():
                folder.rmdir()
                continue
            with (folder / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


def is_temporary(name: str) -> bool:
    """Returns whether a name is one that `temporary_folder` gives."""
    return bool(_TEMPORARY.fullmatch(name))


@contextlib.contextmanager
def _disk_errors_as_os_errors() -> Iterator[None]:
    """Turns what libraries raise for a full disk into an OSError with its number.

    HDF5, safetensors and TensorFlow have exceptions of their own, with the text of the system.
    """
    try:
        yield
    except Exception as error:
        number = _disk_error(error)
        if number is None or getattr(error, "errno", None) == number:
            raise
        raise OSError(number, os.strerror(number)) from error


def _disk_error(error: BaseException | None) -> int | None:
    """Returns the number of the error of a disk that an exception, or its cause, is about."""
    while error is not None:
        text = str(error)
        for number in DISK_ERRORS:
            if getattr(error, "errno", None) == number or os.strerror(number) in text:
                return number
        error = error.__cause__ or error.__context__
    return None


@contextlib.contextmanager
def disk_errors_as_input_errors(what: str, advice: str = "") -> Iterator[None]:
    """Turns the error of a full or failing disk into one line for the user.

    Args:
        what: what cannot be written.
        advice: a sentence to add.

    Raises:
        InputError: the disk is full, or what is written exceeds a limit.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        reason = " ".join(str(error).split())
        raise InputError(f"{what} cannot be written: {reason}. {advice}".rstrip()) from error


def fsync_tree(folder: pathlib.Path) -> None:
    """Waits until a folder with all that is in it is on the disk."""
    for path in folder.iterdir():
        if path.is_dir():
            fsync_tree(path)
        else:
            fsync(path)
    fsync(folder)


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


def absolute_path(text: str | os.PathLike) -> str:
    """Returns a path as a user wrote it, absolute, so that it means the same from any directory.

    Raises:
        InputError: it is the address of a bucket or a server.
    """
    return os.path.abspath(user_path(text))


def fsync(path: pathlib.Path) -> None:
    """Waits until a file, or the entries of a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: pathlib.Path, values: dict) -> None:
    """Writes a JSON file atomically.

    Names of files that are not UTF-8 come back as they were: Python has their bytes as lone
    surrogates, whose escapes are those of JSON.
    """
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    with atomic_write(path) as partial:
        partial.write_text(text, "utf-8", "backslashreplace")


def parse_json(text: str | bytes) -> Any:
    """Returns the values of a JSON text.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_json(path: pathlib.Path, complaint: str) -> dict:
    """Reads a JSON object.

    Args:
        path: path of the file.
        complaint: the beginning of the error message.

    Raises:
        InputError: the file cannot be read or does not hold a JSON object.
    """
    try:
        values = parse_json(path.read_text("utf-8"))
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


def array_bytes(array: np.ndarray) -> np.ndarray:
    """Returns the bytes of an array as integers, for digests."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def check_writable(path: pathlib.Path) -> None:
    """Checks that a file can be written, without writing it or creating its folder.

    Raises:
        InputError: the nearest existing folder above the file is not writable.
    """
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"{path} cannot be written: {folder} is not a writable folder.")


def check_output_file(path: pathlib.Path, overwrite: bool) -> None:
    """Checks that an output can be written, before anything is downloaded or read.

    Raises:
        InputError: it exists, or its folder cannot be written.
    """
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; give another --output, or --overwrite.")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}.")
    check_writable(path)


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


@contextlib.contextmanager
def lock_if_free(path: pathlib.Path) -> Iterator[bool]:
    """Yields whether this process holds a lock file during the block, which then is removed.

    Args:
        path: path of the lock file.
    """
    file = _locked(path)
    if file is None:
        yield False
        return
    with file:
        yield True
        path.unlink(missing_ok=True)


def _locked(path: pathlib.Path) -> TextIO | None:
    """Returns the open lock file with the lock; None if another process holds it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Opening it to append keeps what the holder has written into it.
            file = path.open("a")
        except FileNotFoundError:  # The holder has just removed the folder.
            continue
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
