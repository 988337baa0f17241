"""Importing Keras when a command starts; it comes before everything else of the package."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator

_COMMAND = "keras-deit"
_BACKENDS = ("tensorflow", "jax", "torch")


def import_keras() -> None:
    """Imports Keras, in a command without TensorFlow's notes.

    A missing backend ends a command with one line and exit code 2. A SavedModel holds operations of
    TensorFlow, so the command `export` runs on that backend, whatever `KERAS_BACKEND` says.
    """
    if pathlib.Path(sys.argv[0]).stem != _COMMAND:
        import keras

        return
    if sys.argv[1:2] == ["export"]:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with _silent_stderr():
            import keras  # noqa: F401
    except ModuleNotFoundError as error:
        missing = error.name.split(".")[0]
        if missing not in _BACKENDS:
            raise
        print(
            f"error: Keras's {missing} backend is not installed: pip install "
            f"'keras-deit[{missing}]'. Training and evaluation run on {', '.join(_BACKENDS)}: "
            "KERAS_BACKEND chooses one.",
            file=sys.stderr,
        )
        sys.exit(2)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """TensorFlow writes notes to stderr at import that none of its settings turns off."""
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
