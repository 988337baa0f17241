"""Data that have changed since a training began."""

import pathlib
from collections.abc import Callable

from keras_deit.core.errors import InputError, corrupt_as_input_error
from keras_deit.core.processes import is_writer
from keras_deit.data import Dataset

# The file in which the directory of a training lists the files of its data.
LISTING = "data.json.gz"


def check_unchanged(changes: str, accept: bool, instead: str, print_fn: Callable) -> None:
    """Checks that the data of a training that is resumed are still the same.

    Args:
        changes: what has changed, in words; empty for nothing.
        accept: whether the training is resumed with the changed data.
        instead: what else the user can do, as an imperative.
        print_fn: called with a line for the user if it is resumed.

    Raises:
        InputError: something has changed.
    """
    if not changes:
        return
    line = f"The data has changed since this training began: {changes}."
    if not accept:
        raise InputError(f"{line} {instead}, or --accept_changed_data to resume with it.")
    if is_writer():
        print_fn(line)


def changes_since(dataset: Dataset, listing: pathlib.Path, digest: str | None = None) -> str:
    """Returns in what the files of a dataset have changed, see `Fingerprint.changes_since`.

    Args:
        dataset: the data now, with a fingerprint.
        listing: file that lists them as they were.
        digest: of what they were; None for that of the listing.

    Raises:
        InputError: the listing is corrupt.
    """
    with corrupt_as_input_error(f"{listing} is corrupt"):
        return dataset.fingerprint.changes_since(listing, digest)


def changes_by_count(class_names: list[str], examples: dict[str, int], dataset: Dataset) -> str:
    """Returns in what the classes and the numbers of images of a dataset differ from others.

    Args:
        class_names, examples: the names of the classes and the number of images by split then.
        dataset: the data now.
    """
    old, new = set(class_names), set(dataset.class_names)
    changes = [f"class {name!r} is new" for name in sorted(new - old)]
    changes += [f"class {name!r} is gone" for name in sorted(old - new)]
    changes += [
        f"{split} {examples.get(split, 0):,} -> {dataset.examples.get(split, 0):,}"
        for split in sorted({*examples, *dataset.examples})
        if examples.get(split) != dataset.examples.get(split)
    ]
    if not changes and list(class_names) != list(dataset.class_names):
        changes = ["the classes are in another order"]
    return ", ".join(changes)


def data_summary(dataset: Dataset) -> dict | None:
    """Returns what identifies the files of a dataset as JSON values; None if it has none."""
    return dataset.fingerprint and dataset.fingerprint.summary
