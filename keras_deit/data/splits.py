"""Splits that are the same in every run, whatever the training seed."""

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.model_selection import train_test_split

from keras_deit.core.errors import InputError

TEST_PERCENT = 20
VALIDATION_PERCENT = 10

# Changing it would move examples between the splits, and no accuracy reported before could be
# compared with one reported after.
_SPLIT_SEED = 0


def stratified_split(
    labels: np.ndarray, percents: Mapping[str, int], class_names: Sequence[str], origin: str
) -> dict[str, np.ndarray]:
    """Splits examples so that every split has the classes in the same proportions.

    Args:
        labels: the class index of every example.
        percents: the share of all examples held out, by split name; a share is rounded up.
        class_names: the name of class index 0, 1, ...
        origin: what to call the data in an error.

    Returns:
        Sorted example indices of "train" and of every split held out.

    Raises:
        InputError: a class has too few examples to be in every split.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    needed = -(-100 // min(percents.values()))
    if counts.min() < needed:
        raise InputError(
            f"{origin}: class {class_names[counts.argmin()]!r} has {counts.min()} images, too few "
            f"to hold out {_shares(percents)}. Give each class at least {needed} images, or make "
            "the splits yourself as folders train, validation and test."
        )
    remaining = np.arange(len(labels))
    splits = {}
    for name, percent in percents.items():
        remaining, held_out = train_test_split(
            remaining,
            test_size=-(-len(labels) * percent // 100),
            stratify=labels[remaining],
            random_state=_SPLIT_SEED,
        )
        splits[name] = np.sort(held_out)
    return {"train": np.sort(remaining), **splits}


def fixed_permutation(count: int) -> np.ndarray:
    """A permutation of range(count) that never changes: for data whose labels are not known."""
    return np.random.Generator(np.random.PCG64(_SPLIT_SEED)).permutation(count)


def _shares(percents: Mapping[str, int]) -> str:
    return " and ".join(f"{percent} % for {name}" for name, percent in percents.items())
