"""What the commands have in common. Import it before Keras: it sets the environment."""

import os
import sys

# TensorFlow reports its build and the absence of a GPU at every start.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app, flags

from keras_deit.errors import InputError


def run(main) -> None:
    """Parses the flags and runs `main()`.

    Bad input, in a flag or found by the package, is one line on stderr and exit code 2. Ctrl-C is
    one line and exit code 130. Anything else is a defect and keeps its traceback.
    """
    try:
        app.run(lambda arguments: _main(main, arguments), flags_parser=_parse)
    except InputError as error:
        _leave(f"error: {error}", 2)
    except KeyboardInterrupt:
        _leave("Interrupted.", 130)


def _parse(arguments: list[str]) -> list[str]:
    try:
        return flags.FLAGS(arguments)
    except flags.Error as error:
        raise InputError(" ".join(str(error).split())) from error


def _main(main, arguments: list[str]) -> None:
    if len(arguments) > 1:
        raise InputError(f"Unknown argument {arguments[1]!r}; flags start with --.")
    main()


def _leave(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)
