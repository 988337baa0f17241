"""The error that a user can act on."""

import contextlib
import difflib
import types
import zipfile
import zlib
from collections.abc import Iterable, Iterator

_OF_OTHER_KINDS = (
    *(ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RecursionError),
    *(EOFError, TypeError, ValueError, zipfile.BadZipFile, zlib.error),
)


class InputError(ValueError):
    """Bad input, explained in one line: what was wrong, what was received, what would work.

    The commands print that line and exit with code 2. Every other exception keeps its traceback,
    because it is a bug in this package.
    """


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Returns an `InputError` for a name that is not in `known`, with the closest names.

    Args:
        kind: what the name stands for, in the reader's words: "model", "dataset", "teacher".
        name: the name received.
        known: all valid names.
    """
    known = sorted(known)
    lowered = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(str(name).lower(), lowered, n=4, cutoff=0.5)
    close = [lowered[match] for match in matches] or known[:8]
    return InputError(f"Unknown {kind} {name!r}. Close names: {', '.join(close)}.")


def not_installed(what: str, extra: str, instead: str) -> InputError:
    """Returns an `InputError` for a feature whose packages are optional and missing.

    Args:
        what: the feature that needs them.
        extra: the extra of this package that installs them.
        instead: what works without them, as a sentence.
    """
    return InputError(
        f"{what} needs packages that are not installed: pip install 'keras-deit[{extra}]'. "
        f"{instead}"
    )


def missing_method(owner: object, method: str, purpose: str) -> InputError:
    """Returns an `InputError` for a layer or model that cannot answer a question about itself.

    Args:
        owner: the layer or model.
        method: the signature of the method that it should have.
        purpose: what the answer is needed for.
    """
    return InputError(f"{type(owner).__name__} should have a method {method}: {purpose} needs it.")


@contextlib.contextmanager
def corrupt_as_input_error(complaint: str) -> Iterator[None]:
    """Turns what reading values of unexpected kinds raises into one line.

    Args:
        complaint: the beginning of the error message.

    Raises:
        InputError: the block has raised it, or an error that values of other kinds cause.
    """
    try:
        yield
    except InputError:
        raise
    except _OF_OTHER_KINDS as error:
        reason = f"{type(error).__name__}, {first_line(error)}"
        raise InputError(f"{complaint} ({reason}).") from error


def first_line(error: BaseException) -> str:
    """Returns the first line of an exception's message, or the name of its class."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def errors_of(batches):
    """Yields batches, and raises what a generator of batches raises in the block as it is.

    TensorFlow raises an error of its own for it, with the traceback as a text.

    Args:
        batches: a generator; anything else is yielded as it is.
    """
    raised = []

    def recorded():
        try:
            yield from batches
        except Exception as error:
            raised.append(error)
            raise

    try:
        yield recorded() if isinstance(batches, types.GeneratorType) else batches
    except Exception:
        if raised:
            raise raised[0] from None
        raise
