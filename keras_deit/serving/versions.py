"""Where SavedModels lie: `NAME/VERSION/`, the layout that TF Serving watches."""

import os
import pathlib
import re

from keras_deit.core.errors import InputError

# What a URL path and a shell take unquoted; TF Serving itself refuses "/" and ":".
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def check_name(name: str) -> None:
    """Raises an `InputError` for a name that cannot be a served model's."""
    if not _NAME.fullmatch(name):
        raise InputError(
            "The name of a served model should be of letters, digits, '.', '_' and '-', and not "
            f"start with '.' or '-'. Received: {name!r}. Give another with --name."
        )


def next_version(directory: pathlib.Path) -> int:
    """One more than the highest version in a model's directory; 1 where there is none."""
    if not directory.is_dir():
        return 1
    # int() reads other scripts' digits too, which isdecimal() accepts and TF Serving does not.
    versions = [int(path.name) for path in directory.iterdir() if re.fullmatch("[0-9]+", path.name)]
    return max(versions, default=0) + 1


def publish(saved_model: pathlib.Path, directory: pathlib.Path) -> pathlib.Path:
    """Moves a whole SavedModel to its place, the next version in `directory`.

    The two must be on one file system: then a server sees all of it or nothing.

    Returns:
        The path of the version.
    """
    directory.mkdir(exist_ok=True)
    while True:
        version = directory / str(next_version(directory))
        try:
            os.rename(saved_model, version)
        except OSError:
            # Another export may have taken the number in between: then count on.
            if not version.exists():
                raise
        else:
            return version
