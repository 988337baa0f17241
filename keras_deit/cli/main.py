"""The entry point of the command `keras-deit`."""

import importlib.util
import logging
import os
import pathlib
import sys
import threading

import keras
from absl import logging as absl_logging

from keras_deit.cli.commands import COMMANDS
from keras_deit.cli.flags import options_help, parse_flags
from keras_deit.cli.signals import handle_signals, ignore_signals
from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.processes import shut_down_together
from keras_deit.core.program_cache import share_programs
from keras_deit.core.startup import end_imports
from keras_deit.recipes import Option
from keras_deit.training import Stopped
from keras_deit.version import __version__

_IMPORT = Option(
    "import",
    str,
    "Python file to run first, which registers your models, recipes or objectives; repeatable.",
)
# The commands that go on where they were stopped.
_RESUMING = ("train", "train-teacher", "label", "faces", "prune", "translate")
_HELP = ("-h", "-help", "--help", "--helpfull", "help")


def main() -> None:
    """Runs the command in `sys.argv`.

    Bad input, in a flag or found by the package, is one line on stderr and exit code 2. Ctrl-C is
    one line and exit code 130, SIGTERM one line and 143. Every other exception is a bug and keeps
    its traceback.
    """
    end_imports()
    # A name that is not UTF-8, or a terminal of few characters, must not end a training.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    handle_signals(any(name in _RESUMING for name in sys.argv[1:2]), _exit)
    _configure_logging()
    try:
        run_command(sys.argv[1:])
    except InputError as error:
        _exit(f"error: {error}", 2)
    except Stopped as stopped:
        shut_down_together()
        _exit(str(stopped), 128 + stopped.signal_number)
    except BrokenPipeError:
        os._exit(1)  # What read the output, such as head, has ended.


def run_command(arguments: list[str]) -> None:
    """Runs a command in this process.

    Args:
        arguments: the name of the command, then its flags.

    Raises:
        InputError: there is no such command or flag, or what the command raises.
    """
    if not arguments or arguments[0] in _HELP:
        print(_commands_help())
        return
    if arguments[0] == "--version":
        print(__version__)
        return
    name, *rest = arguments
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    command = COMMANDS[name]
    files, rest = _split_imports(rest)
    for file in files:
        _import_file(file)
    options = command.options()
    if any(argument in _HELP for argument in rest):
        print(f"{command.summary}\n\n  keras-deit {command.example}\n")
        print(options_help([*options, _IMPORT]))
        return
    defaults = {option.name: option.default for option in options if option.default is not None}
    imports = {"imports": files} if command.takes_imports else {}
    given = parse_flags(options, rest, command.arguments, command.needs_arguments)
    command.run(defaults | given | imports)


def _split_imports(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Returns the files of `--import`, which define further flags, and the other arguments."""
    files, others = [], []
    remaining = iter(arguments)
    for argument in remaining:
        flag, equals, value = argument.partition("=")
        if flag not in ("--import", "-import"):
            others.append(argument)
            continue
        value = value if equals else next(remaining, None)
        if value is None:
            raise InputError("--import needs the path of a Python file.")
        files.append(value)
    return files, others


def _commands_help() -> str:
    lines = [f"  {name:15}{command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "keras-deit COMMAND [--flag value ...]",
            "",
            *lines,
            "",
            "keras-deit COMMAND --help lists the flags.",
        ]
    )


def _configure_logging() -> None:
    """Prints the package's warnings without a prefix, and no notes of TensorFlow Datasets."""
    logger = logging.getLogger("keras_deit")
    logger.addHandler(logging.StreamHandler())
    if not sys.stdout.isatty():
        # The bars of Keras's downloads.
        keras.config.disable_interactive_logging()
    logger.propagate = False
    absl_logging.use_absl_handler()
    absl_logging.set_verbosity(absl_logging.WARNING)


# The thread that watches for signals may end the process too.
_ending = threading.Lock()


def _exit(message: str, code: int) -> None:
    _ending.acquire()
    ignore_signals()
    print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    share_programs()
    # Not sys.exit: threads that prefetch data can keep the interpreter from ending. Files are
    # written atomically, so nothing is lost.
    os._exit(code)


def _import_file(path: str) -> None:
    """Runs a user's own file, in which she registers models, recipes and objectives.

    The file becomes a module under its name, so what it defines can be saved and loaded.

    Raises:
        InputError: there is no such file, or its name is that of a module in use.
    """
    file = pathlib.Path(path).expanduser().resolve()
    if file.suffix != ".py" or not file.is_file():
        raise InputError(f"--import should name a Python file. Received: {path!r}")
    if file.stem in sys.modules:
        if getattr(sys.modules[file.stem], "__file__", None) == str(file):
            return
        raise InputError(
            f"--import {path}: there is a module {file.stem!r} already; rename the file."
        )
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
