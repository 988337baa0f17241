"""Directories of SavedModels: `NAME/VERSION/`, the layout of TF Serving."""

import os
import pathlib
import re

from keras_deit.core.errors import InputError
from keras_deit.core.files import fsync, fsync_tree

# Characters that a URL path and a shell need not quote; TF Serving rejects "/" and ":".
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def check_name(name: str) -> None:
    """Checks the name of a served model.

    Raises:
        InputError: it is invalid.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            "The name of a served model should consist of letters, digits, '.', '_' and '-', and "
            f"not start with '.' or '-'. Received: {name!r}. Give another one with --name."
        )


def next_version(directory: pathlib.Path) -> int:
    """Returns the next version of a model: one above the highest one in its directory, or 1."""
    if not directory.is_dir():
        return 1
    # Not isdecimal(), which also accepts digits of other scripts.
    versions = [int(path.name) for path in directory.iterdir() if re.fullmatch("[0-9]+", path.name)]
    return max(versions, default=0) + 1


def publish(saved_model: pathlib.Path, directory: pathlib.Path) -> pathlib.Path:
    """Moves a SavedModel into the directory of its model as the next version.

    Both must be on the same file system, so that the move is atomic and a server never loads an
    incomplete model, not even after a loss of power.

    Args:
        saved_model: the directory of the SavedModel.
        directory: the directory of the model; it is created if needed.

    Returns:
        The path of the version.
    """
    fsync_tree(saved_model)
    directory.mkdir(exist_ok=True)
    while True:
        version = directory / str(next_version(directory))
        try:
            os.rename(saved_model, version)
        except OSError:
            # Another export can have taken this version in the meantime; then try the next one.
            if not version.exists():
                raise
        else:
            fsync(directory)
            fsync(directory.parent)
            return version
