"""The error that a user can act on."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input, told in one line: what was wrong, what was received, what would do.

    The scripts print it as that line and leave with exit code 2; every other exception keeps
    its traceback, because it is a defect of ours.
    """


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """An `InputError` for a name that is not in `known`, with the names closest to it.

    Args:
        kind: what the name names, as a reader would say it: "model", "dataset", "teacher".
        name: the name received.
        known: every name that would do.
    """
    known = sorted(known)
    lowered = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), lowered, n=4, cutoff=0.5)
    close = [lowered[match] for match in matches] or known[:8]
    return InputError(f"Unknown {kind} {name!r}. Close names: {', '.join(close)}.")


def not_installed(what: str, extra: str, instead: str) -> InputError:
    """An `InputError` for what needs packages that an installation may leave out.

    Args:
        what: needs them.
        extra: of this package, that installs them.
        instead: what would do without them, as a sentence.
    """
    return InputError(
        f"{what} needs packages that are not installed: pip install 'keras-deit[{extra}]'. "
        f"{instead}"
    )
