"""Compiled programs that a command finds again when it starts the next time.

XLA compiles the program of a training step for many seconds, and the same one for each seed and at
each start. TensorFlow and JAX can keep programs on disk, but TensorFlow ends a training that cannot
write one or that reads a damaged one, and its program may need instructions that another
processor lacks. So each process has a folder of its own with the programs of the same versions,
processor and flags, whose digests are checked. What the process adds is shared at its end.
"""

import atexit
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator

VARIABLE = "KERAS_DEIT_PROGRAM_CACHE"
# What `keep_programs` has added to variables of the environment, by name.
ADDED: dict[str, str] = {}
# The oldest programs are removed, so that all have at most this size; each start reads them.
_MOST_BYTES = 256 * 2**20
# With less space on the disk no programs are kept: a training needs it for its checkpoints. A part
# of it is taken for a moment, because a quota may leave less.
_LEAST_FREE_BYTES, _TAKEN_BYTES = 4 * 2**30, 64 * 2**20
_PACKAGES = {"tensorflow": ("tensorflow", "tensorflow-cpu"), "jax": ("jaxlib",)}
_FLAG = "--tf_xla_persistent_cache_directory="
_LOCK = "lock"
_PLACE = re.compile(r"(tensorflow|jax)-\S+-[0-9a-f]{12}")
# The name that the backend gives it, its digest, and an ending of our own.
_DIGEST_BYTES = 16
_PROGRAM = re.compile(rf"(.+)\.([0-9a-f]{{{2 * _DIGEST_BYTES}}})\.program")
# Endings of files that the backends have not finished, or that are no programs.
_NO_PROGRAM = (".tmp", "-atime", _LOCK)
# A folder without a lock was left by a process that ended while it made it.
_SECONDS_TO_LOCK = 3600


def keep_programs(backend: str) -> None:
    """Lets a backend keep its programs on disk; it must not be imported yet.

    Without a cache the programs are compiled as ever: if the user turned it off or has a cache of
    the backend's own, if several processes train together, of which JAX has only the first one
    write, or if the folder cannot be written.

    Args:
        backend: name of Keras's backend. PyTorch compiles nothing here.
    """
    root = _root()
    if (
        backend not in _PACKAGES
        or root is None
        or importlib.util.find_spec("fcntl") is None
        or "TF_CONFIG" in os.environ
        or any(argument.startswith("--num_processes") for argument in sys.argv)
    ):
        return
    with contextlib.suppress(OSError):
        enable = _enable_tensorflow if backend == "tensorflow" else _enable_jax
        enable(root, root / _conditions(backend))


def _enable_tensorflow(root: pathlib.Path, place: pathlib.Path) -> None:
    # Without what the process that started this one has added.
    added = rf"{_FLAG}{re.escape(str(root))}{os.sep}\S*"
    flags = re.sub(added, "", _given("TF_XLA_FLAGS")).strip()
    # Flags that do not begin with a dash are the name of a file with flags.
    if _FLAG in flags or (flags and not flags.startswith("-")):
        return
    folder = _own_folder(place)
    ADDED["TF_XLA_FLAGS"] = f" {_FLAG}{folder}" if flags else f"{_FLAG}{folder}"
    os.environ["TF_XLA_FLAGS"] = flags + ADDED["TF_XLA_FLAGS"]
    _share_at_end(folder, place)


def _enable_jax(root: pathlib.Path, place: pathlib.Path) -> None:
    given = _given("JAX_COMPILATION_CACHE_DIR")
    own = not given or given.startswith(f"{root}{os.sep}")
    # With that JAX keeps other files, too.
    if not own or "JAX_COMPILATION_CACHE_MAX_SIZE" in os.environ:
        return
    folder = _own_folder(place)
    ADDED["JAX_COMPILATION_CACHE_DIR"] = os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    # Otherwise the folder would be among the options that tell programs apart.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES", "none")
    _share_at_end(folder, place)


# What is done at the end of this process.
_at_end = []


def _share_at_end(folder: pathlib.Path, place: pathlib.Path) -> None:
    _at_end.append((folder, place, {*os.listdir(folder)}, os.getpid()))
    atexit.register(share_programs)


def share_programs() -> None:
    """Adds the new programs of this process to those of all, and removes its folder.

    It is done at the end of the interpreter; a process that ends in another way calls it before.
    """
    while _at_end:
        folder, place, known, process = _at_end.pop()
        # A child process that was forked runs the functions of its parent at its end.
        if os.getpid() == process:
            _share(folder, place, known)


def _given(variable: str) -> str:
    return os.environ.get(variable, "")


def _root() -> pathlib.Path | None:
    """Returns the folder of all programs; None if none are kept."""
    given = os.environ.get(VARIABLE)
    if given is None:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        given = os.path.join(base, "keras_deit", "programs")
    # TensorFlow's flags end at a space.
    usable = given not in ("", "0", "off") and not re.search(r"\s", given)
    return pathlib.Path(given).absolute() if usable else None


def _conditions(backend: str) -> str:
    """Returns a name for what a program depends on and the backends do not compare themselves."""
    version = "unknown"
    for package in _PACKAGES[backend]:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            version = importlib.metadata.version(package)
    # The name of the host, because locks of files may not reach beyond it.
    processor = [platform.node(), platform.machine(), platform.processor(), str(os.cpu_count())]
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        names = ("model name", "flags", "Features", "CPU part")
        processor += sorted({line for line in lines if line.startswith(names)})
    with contextlib.suppress(OSError):
        gpus = pathlib.Path("/proc/driver/nvidia/gpus").glob("*/information")
        processor += sorted(
            line for gpu in gpus for line in gpu.read_text("utf-8").splitlines()[:1]
        )
    if hasattr(os, "sched_getaffinity"):
        processor.append(str(len(os.sched_getaffinity(0))))
    variables = [_given(name) for name in ("XLA_FLAGS", "CUDA_VISIBLE_DEVICES")]
    text = "\n".join([*processor, *variables])
    return f"{backend}-{version}-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"


def _own_folder(place: pathlib.Path) -> pathlib.Path:
    """Returns a new folder for this process, with the programs of a place.

    Raises:
        OSError: it cannot be written, or there is too little space.
    """
    place.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(place.parent)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="process-", dir=place))
    if not _lock(folder):
        raise OSError(f"{folder} is locked by another process")
    _check_space(folder)
    for program in _programs(place):
        # Another process may remove it meanwhile, or has added the same one.
        with contextlib.suppress(OSError):
            name, digest = _PROGRAM.fullmatch(program.name).groups()
            if _digest(program) != digest:
                program.unlink()
            else:
                _link(program, folder / name)
    return folder


def _link(file: pathlib.Path, other: pathlib.Path) -> None:
    try:
        os.link(file, other)
    except OSError:
        # Not all file systems have links.
        shutil.copyfile(file, other)


def _check_space(folder: pathlib.Path) -> None:
    """Checks that programs can be written; raises OSError if not."""
    if shutil.disk_usage(folder).free < _LEAST_FREE_BYTES:
        raise OSError("There is too little space.")
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, _TAKEN_BYTES)


# The locks of this process by folder; they end with it.
_locks = {}


def _lock(folder: pathlib.Path) -> bool:
    """Locks a folder for this process; returns whether no other process has locked it."""
    import fcntl

    file = (folder / _LOCK).open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return False
    _locks[folder] = file
    return True


def _remove(folder: pathlib.Path) -> None:
    """Removes a folder that this process has locked."""
    # A network file system keeps files that are open.
    _locks.pop(folder).close()
    shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers(root: pathlib.Path) -> None:
    """Removes the folders of processes that were killed."""
    for place in _places(root):
        for folder in place.glob("process-*"):
            with contextlib.suppress(OSError):
                new = time.time() - folder.stat().st_mtime < _SECONDS_TO_LOCK
                if ((folder / _LOCK).exists() or not new) and _lock(folder):
                    _remove(folder)


def _places(root: pathlib.Path) -> Iterator[pathlib.Path]:
    return (place for place in root.iterdir() if _PLACE.fullmatch(place.name))


def _programs(place: pathlib.Path) -> Iterator[pathlib.Path]:
    return (file for file in place.iterdir() if _PROGRAM.fullmatch(file.name))


def _digest(file: pathlib.Path) -> str:
    return hashlib.blake2b(file.read_bytes(), digest_size=_DIGEST_BYTES).hexdigest()


def _share(folder: pathlib.Path, place: pathlib.Path, known: set[str]) -> None:
    with contextlib.suppress(OSError):
        # On a full disk a program may have been written in part.
        _check_space(folder)
        there = {_PROGRAM.fullmatch(file.name).group(1) for file in _programs(place)}
        for file in folder.iterdir():
            new = file.name not in known | there and not file.name.endswith(_NO_PROGRAM)
            if new and file.is_file() and not file.name.startswith("."):
                file.replace(place / f"{file.name}.{_digest(file)}.program")
        _remove_oldest(place.parent)
    _remove(folder)


def _remove_oldest(root: pathlib.Path) -> None:
    """Removes the oldest programs, of all versions, until they have the size that is allowed."""
    programs = [file for place in _places(root) for file in _programs(place)]
    total = 0
    for file in sorted(programs, key=lambda file: file.stat().st_mtime, reverse=True):
        total += file.stat().st_size
        if total > _MOST_BYTES:
            file.unlink(missing_ok=True)
