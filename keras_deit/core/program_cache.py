"""Compiled programs that a command finds again when it starts the next time.

XLA compiles the program of a training step for many seconds, and the same one for each seed and at
each start. TensorFlow and JAX can keep programs on disk, but TensorFlow ends a training that cannot
write one or that reads a damaged one, and its program may need instructions that another
processor lacks. So each process has a folder of its own with links to the programs of the same
versions, processor and flags, whose digests are checked. What the process adds is shared at its
end.
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
import tempfile
import time
from collections.abc import Iterator

VARIABLE = "KERAS_DEIT_PROGRAM_CACHE"
# The oldest programs are removed, so that all have at most this size.
_MOST_BYTES = 2**30
# With less space on the disk no programs are kept: a training needs it for its checkpoints.
_LEAST_FREE_BYTES = 4 * 2**30
_PACKAGES = {"tensorflow": ("tensorflow", "tensorflow-cpu"), "jax": ("jaxlib",)}
_FLAG = "--tf_xla_persistent_cache_directory="
_LOCK = "lock"
# The digest of a shared program stands before its name.
_DIGEST_BYTES = 16
_NAME = re.compile(rf"[0-9a-f]{{{2 * _DIGEST_BYTES}}}\.(.+)")
# Names of files that the backends have not finished, or that are no programs.
_NO_PROGRAM = (".tmp", "-atime", _LOCK)
# A folder without a lock was left by a process that ended while it made it.
_SECONDS_TO_LOCK = 3600


def keep_programs(backend: str) -> None:
    """Lets a backend keep its programs on disk; it must not be imported yet.

    Without a cache the programs are compiled as ever: if the user turned it off, has a cache of
    the backend's own, or the folder cannot be written.

    Args:
        backend: name of Keras's backend. PyTorch compiles nothing here.
    """
    root = _root()
    if backend not in _PACKAGES or root is None or importlib.util.find_spec("fcntl") is None:
        return
    with contextlib.suppress(OSError):
        place = root / _conditions(backend)
        if backend == "tensorflow":
            # Without what the process that started this one has added.
            flags = re.sub(rf"{_FLAG}{re.escape(str(root))}\S*", "", _given("TF_XLA_FLAGS")).strip()
            if _FLAG in flags:
                return
            folder = _own_folder(place)
            os.environ["TF_XLA_FLAGS"] = f"{flags} {_FLAG}{folder}".strip()
        else:
            given = _given("JAX_COMPILATION_CACHE_DIR")
            if given and not given.startswith(str(root)):
                return
            folder = _own_folder(place)
            os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
            # Otherwise the folder would be among the options that tell programs apart.
            os.environ.setdefault("JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES", "none")
        atexit.register(_share, folder, place, {*os.listdir(folder)}, os.getpid())


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
    processor = [platform.machine(), platform.processor(), str(os.cpu_count())]
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
    """Returns a new folder for this process, with links to the programs of a place.

    Raises:
        OSError: it cannot be written, or there is too little space.
    """
    place.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(place).free < _LEAST_FREE_BYTES:
        raise OSError("too little space")
    _remove_leftovers(place)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="process-", dir=place))
    _lock(folder)
    for program in _programs(place):
        # Another process may remove it meanwhile, or has added the same one.
        with contextlib.suppress(OSError):
            digest, name = program.name.split(".", 1)
            if _digest(program) != digest:
                program.unlink()
            else:
                os.link(program, folder / name)
    return folder


# The locks of this process, which end with it.
_locks = []


def _lock(folder: pathlib.Path) -> bool:
    """Locks a folder for this process; returns whether no other process has locked it."""
    import fcntl

    file = (folder / _LOCK).open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return False
    _locks.append(file)
    return True


def _remove_leftovers(place: pathlib.Path) -> None:
    """Removes the folders of processes that were killed."""
    for folder in place.glob("process-*"):
        with contextlib.suppress(OSError):
            new = time.time() - folder.stat().st_mtime < _SECONDS_TO_LOCK
            if ((folder / _LOCK).exists() or not new) and _lock(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _programs(place: pathlib.Path) -> Iterator[pathlib.Path]:
    return (file for file in place.iterdir() if _NAME.fullmatch(file.name))


def _digest(file: pathlib.Path) -> str:
    return hashlib.blake2b(file.read_bytes(), digest_size=_DIGEST_BYTES).hexdigest()


def _share(folder: pathlib.Path, place: pathlib.Path, known: set[str], process: int) -> None:
    """Adds the new programs of this process to those of a place, and removes its folder."""
    # A child process that was forked runs the functions of its parent at its end.
    if os.getpid() != process:
        return
    with contextlib.suppress(OSError):
        there = {_NAME.fullmatch(file.name).group(1) for file in _programs(place)}
        for file in folder.iterdir():
            if file.name not in known | there and not file.name.endswith(_NO_PROGRAM):
                file.replace(place / f"{_digest(file)}.{file.name}")
        _remove_oldest(place.parent)
    shutil.rmtree(folder, ignore_errors=True)


def _remove_oldest(root: pathlib.Path) -> None:
    """Removes the oldest programs, of all versions, until they have the size that is allowed."""
    programs = [file for place in root.iterdir() if place.is_dir() for file in _programs(place)]
    total = 0
    for file in sorted(programs, key=lambda file: file.stat().st_mtime, reverse=True):
        total += file.stat().st_size
        if total > _MOST_BYTES:
            file.unlink(missing_ok=True)
