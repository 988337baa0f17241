"""Importing Keras when a command starts; it comes before everything else of the package."""

import contextlib
import functools
import gc
import importlib.abc
import importlib.util
import json
import logging
import os
import pathlib
import signal
import sys
import time
import traceback
from collections.abc import Iterator

from keras_deit.core.errors import first_line
from keras_deit.core.program_cache import keep_programs

# Before the imports that take seconds.
STARTED = time.monotonic()

_COMMAND = "keras-deit"
_BACKENDS = ("tensorflow", "jax", "torch")
# Commands whose steps run for long, and the backends that take new buffers for each step.
_TRAINING = ("train", "train-teacher", "label", "prune")
_TAKE_BUFFERS = ("tensorflow", "jax")
# Commands whose programs are kept.
_KEEP_PROGRAMS = (*_TRAINING, "evaluate", "predict")
# Keeps what a step has freed for the next one, in large pages.
_MALLOC = ":".join(
    f"glibc.malloc.{name}" for name in ("mmap_max=0", f"trim_threshold={64 * 2**30}", "hugetlb=1")
)


def import_keras() -> None:
    """Imports Keras, in a command without TensorFlow's notes.

    A backend that is missing or not supported ends a command with one line and exit code 2, and
    Ctrl-C or SIGTERM during the imports, which take seconds, with one line. A SavedModel holds
    operations of TensorFlow, so the command `export` runs on that backend, whatever
    `KERAS_BACKEND` says. A command that trains starts itself again first, see `_keep_memory`, and
    keeps its compiled programs, see `keep_programs`. The garbage collector is off until
    `end_imports`.
    """
    if pathlib.Path(sys.argv[0]).stem != _COMMAND:
        import keras

        return
    _keep_memory()
    gc.disable()
    if sys.argv[1:2] == ["export"]:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.meta_path.insert(0, _QuietTensorFlow())
    # A copy, because stderr is silenced during the import.
    stop = functools.partial(_exit_stopped, os.dup(2))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    backend = _chosen_backend()
    if backend not in _BACKENDS:
        where = (
            "KERAS_BACKEND" if os.environ.get("KERAS_BACKEND") else f"backend in {_keras_json()}"
        )
        _exit(f"{where} should be one of {', '.join(_BACKENDS)}. Received: {backend!r}")
    if sys.argv[1:2] and sys.argv[1] in _KEEP_PROGRAMS:
        keep_programs(backend)
    try:
        with silent_stderr():
            import keras  # noqa: F401
        # Grain warns at its import wherever JAX is not installed.
        absl_logger = logging.getLogger("absl")
        absl_logger.addFilter(lambda record: "jax profiler" not in record.getMessage())
    except ModuleNotFoundError as error:
        missing = error.name.split(".")[0]
        if missing not in _BACKENDS:
            raise
        _exit(
            f"Keras's {missing} backend is not installed: pip install 'keras-deit[{missing}]'. "
            f"Training and evaluation run on {', '.join(_BACKENDS)}: KERAS_BACKEND chooses one."
        )
    except Exception as error:  # Of any type, if a value in the file is of another one.
        where = pathlib.Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        if where.parts[-2:] != ("backend", "config.py"):
            raise
        _exit(f"{_keras_json()} is not what Keras takes: {first_line(error)}")


def end_imports() -> None:
    """Turns the garbage collector on again, for what comes after the imports.

    Looking for garbage among the objects of the imports, which all stay, takes a tenth of their
    time, and again whenever a model is built.
    """
    gc.freeze()
    gc.enable()


def _keep_memory() -> None:
    """Starts a command that trains again, with a C library that keeps the memory of a step.

    Otherwise the library gives the buffers of every step back to the system and takes them anew,
    and the system has to fill hundreds of thousands of pages with zeros. Only a new process reads
    its settings. Those of the user, `GLIBC_TUNABLES`, are left as they are.
    """
    if (
        sys.argv[1:2] not in [[name] for name in _TRAINING]
        or _chosen_backend() not in _TAKE_BUFFERS
        or "GLIBC_TUNABLES" in os.environ
        # A debugger would lose the process.
        or sys.gettrace() is not None
        or not sys.executable
        or "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", ())
    ):
        return
    os.environ["GLIBC_TUNABLES"] = _MALLOC
    # Without a new process nothing is lost.
    with contextlib.suppress(OSError):
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _exit(error: str) -> None:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


def _keras_json() -> pathlib.Path:
    """Returns the path of Keras's own settings, which may not exist."""
    home = os.path.expanduser("~")
    folder = os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    return pathlib.Path(os.environ.get("KERAS_HOME", folder)).expanduser() / "keras.json"


def _chosen_backend():
    """Returns the backend that Keras will import: that of the variable, the file or its default.

    In a file it can be any value of JSON.
    """
    if backend := os.environ.get("KERAS_BACKEND"):
        return backend
    # What is wrong in the file otherwise, Keras says.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return json.loads(_keras_json().read_text("utf-8")).get("backend", _BACKENDS[0])
    return _BACKENDS[0]


def _exit_stopped(stderr: int, signum, frame) -> None:
    os.write(stderr, b"Interrupted.\n" if signum == signal.SIGINT else b"Terminated.\n")
    os._exit(128 + signum)


class _QuietTensorFlow(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports TensorFlow without its notes, whenever that is.

    On other backends TensorBoard's events, KerasCV or TensorFlow Datasets import it later.
    """

    def find_spec(self, fullname, path, target=None):
        if fullname != "tensorflow":
            return None
        # The other finders look for it; some packages only ask whether there is one.
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        sys.meta_path.insert(0, self)
        if spec is not None:
            self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        with silent_stderr():
            self._loader.exec_module(module)


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Leaves out what is written to stderr in the block.

    TensorFlow and the converters of models write notes there that none of their settings turns off.
    """
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
