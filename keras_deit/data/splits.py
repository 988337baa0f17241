"""Splits that do not depend on the seed of the training."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.model_selection import train_test_split

from keras_deit.core.errors import InputError

TEST_PERCENT = 20
VALIDATION_PERCENT = 10

# It must not change: accuracies on other splits could not be compared with earlier ones.
_SPLIT_SEED = 0


def stratified_split(
    labels: np.ndarray, percents: Mapping[str, float], class_names: Sequence[str], origin: str
) -> dict[str, np.ndarray]:
    """Splits examples such that the classes have the same proportions in every split.

    Args:
        labels: the class index of every example, integers (count,).
        percents: the percentage of all examples to hold out, by name of the split; the number of
            examples is rounded up.
        class_names: the names of the classes by index.
        origin: the name of the data for an error.

    Returns:
        The sorted indices of the examples of "train" and of every held-out split.

    Raises:
        InputError: a class has too few examples for every split to have one.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    needed = math.ceil(100 / min(percents.values()))
    if counts.min() < needed:
        raise InputError(
            f"{origin}: class {class_names[counts.argmin()]!r} has {counts.min()} images, too few "
            f"to hold out {_percent_list(percents)}. Give each class at least {needed} "
            "images, or make the splits yourself as folders train, validation and test."
        )
    remaining = np.arange(len(labels))
    splits = {}
    for name, percent in percents.items():
        remaining, held_out = train_test_split(
            remaining,
            test_size=math.ceil(len(labels) * percent / 100),
            stratify=labels[remaining],
            random_state=_SPLIT_SEED,
        )
        splits[name] = np.sort(held_out)
    return {"train": np.sort(remaining), **splits}


def fixed_permutation(count: int) -> np.ndarray:
    """Returns a permutation of range(count) that is always the same, for data without labels."""
    return np.random.Generator(np.random.PCG64(_SPLIT_SEED)).permutation(count)


def _percent_list(percents: Mapping[str, float]) -> str:
    return " and ".join(f"{percent:g} % for {name}" for name, percent in percents.items())
