"""Directories of exports: `NAME/VERSION/` of SavedModels, the layout of TF Serving.

Other formats are in `NAME/FORMAT/VERSION/`. TF Serving looks at directories named by a number only.
"""

import os
import pathlib
import re
from collections.abc import Iterable

from keras_deit.core.errors import InputError
from keras_deit.core.files import fsync, fsync_tree

# Characters that a URL path and a shell need not quote; TF Serving rejects "/" and ":".
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")

# The names of the classes by index, a line each.
LABELS = "labels.txt"


def write_labels(folder: pathlib.Path, class_names: Iterable[str]) -> pathlib.Path:
    """Writes the names of the classes, in which line breaks become spaces, and returns the path."""
    lines = (" ".join(str(name).splitlines()) for name in class_names)
    path = folder / LABELS
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


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


def publish(exported: pathlib.Path, directory: pathlib.Path, version: int = 1) -> pathlib.Path:
    """Moves an export into the directory of its model, as a new version.

    Both must be on the same file system, so that the move is atomic and a server never loads an
    incomplete model, not even after a loss of power.

    Args:
        exported: the directory of the files.
        directory: the directory of the versions; it is created if needed, and that above it.
        version: the number of the version, if it is above those that are there.

    Returns:
        The path of the version.
    """
    fsync_tree(exported)
    # Those that are new also have to be on the disk.
    above = [directory, *(parent for parent in directory.parents if not parent.exists())]
    directory.mkdir(parents=True, exist_ok=True)
    while True:
        path = directory / str(max(version, next_version(directory)))
        try:
            os.rename(exported, path)
        except OSError:
            # Another export can have taken this version in the meantime; then try the next one.
            if not path.exists():
                raise
        else:
            for folder in (*above, above[-1].parent):
                fsync(folder)
            return path
