"""What the commands have in common. Import it first: it loads Keras without the noise.

Where Keras's backend is not installed, that is one line and exit code 2.
"""

import contextlib
import logging as stdlib_logging
import os
import signal
import sys
import threading


@contextlib.contextmanager
def _silent_stderr():
    """TensorFlow writes a screen of notes to stderr at import that no setting of its turns off."""
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
try:
    with _silent_stderr():
        import keras  # noqa: F401
except ModuleNotFoundError as error:
    missing = error.name.split(".")[0]
    if missing not in ("tensorflow", "jax", "torch"):
        raise
    print(
        f"error: Keras's {missing} backend is not installed: "
        f"pip install 'keras-deit[{missing}]'. Training and evaluation run on tensorflow, jax "
        "and torch: KERAS_BACKEND says on which.",
        file=sys.stderr,
    )
    sys.exit(2)

from absl import app, flags, logging

from keras_deit.errors import InputError
from keras_deit.training.devices.processes import leave_together
from keras_deit.training.interruption import Stopped


def run(main) -> None:
    """Parses the flags and runs `main()`.

    Bad input, in a flag or found by the package, is one line on stderr and exit code 2. Ctrl-C is
    one line and exit code 130, SIGTERM in a training one line and 143. Anything else is a defect
    and keeps its traceback.
    """
    signal.signal(signal.SIGINT, _interrupt)
    _say_plainly()
    try:
        app.run(lambda arguments: _main(main, arguments), flags_parser=_parse)
    except InputError as error:
        _leave(f"error: {error}", 2)
    except Stopped as stopped:
        leave_together()
        _leave(str(stopped), 128 + stopped.signal_number)
    except KeyboardInterrupt:
        _leave("Interrupted.", 130)


def _say_plainly() -> None:
    """What the package warns of is a line without absl's prefix."""
    logger = stdlib_logging.getLogger("keras_deit")
    logger.addHandler(stdlib_logging.StreamHandler())
    logger.propagate = False


def _interrupt(signum, frame):
    # A library may swallow the exception, where it comes inside one of its own callbacks.
    timer = threading.Timer(10, _leave, ("Interrupted.", 130))
    timer.daemon = True
    timer.start()
    raise KeyboardInterrupt


def _parse(arguments: list[str]) -> list[str]:
    try:
        return flags.FLAGS(arguments)
    except flags.Error as error:
        raise InputError(" ".join(str(error).split())) from error


def _main(main, arguments: list[str]) -> None:
    # TensorFlow Datasets tells the story of every look-up.
    logging.set_verbosity(logging.WARNING)
    if len(arguments) > 1:
        raise InputError(f"Unknown argument {arguments[1]!r}; flags start with --.")
    main()


def _leave(message: str, code: int) -> None:
    print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    # Not sys.exit: threads that read data ahead can keep the interpreter from ending. Files are
    # written whole or not at all, so nothing is lost.
    os._exit(code)
