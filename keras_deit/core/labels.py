"""Labels that no class has, found before anything is computed from them.

The backends treat such a label in ways of their own: as no class, as the last one, as `nan`, or as
an index that ends the process.
"""

import numpy as np

from keras_deit.core.errors import InputError

# Rows of soft labels are sums of rounded numbers, also of bfloat16.
SUM_TOLERANCE, HALF_SUM_TOLERANCE = 1e-3, 2e-2
# Rows that are looked at together, because of the memory of what is computed from them.
_ROWS = 2**16


class ImpossibleLabel(InputError):
    """A label that no class has. It is an error also where bad images are skipped."""


def class_index(label, num_classes: int | None) -> int:
    """Returns the label of one example as an integer.

    Args:
        label: a number.
        num_classes: number of classes; None if it is not known.

    Raises:
        ImpossibleLabel: it is not an integer from 0 to `num_classes` - 1.
    """
    if label >= 0 and (num_classes is None or label < num_classes) and label == int(label):
        return int(label)
    raise ImpossibleLabel(f"{expected_labels(num_classes)} Received: {label}")


def check_labels(labels, num_classes: int, what: str = "") -> None:
    """Checks labels that are in memory.

    Args:
        labels: integers (count,) or (count, 1), or distributions (count, classes).
        num_classes: number of classes.
        what: whose labels they are, for the error, such as "validation labels: ".

    Raises:
        ImpossibleLabel: they have another shape, some are no integers from 0 to `num_classes` - 1,
            or some rows are no distributions.
    """
    labels = np.asarray(labels)
    is_half = labels.dtype.itemsize == 2
    if labels.dtype.kind == "V":  # bfloat16 and its like, which NumPy does not know.
        labels = labels.astype("float32")
    is_soft = labels.ndim == 2 and labels.shape[1] == num_classes > 1
    is_flat = labels.ndim == 1 or (labels.ndim == 2 and labels.shape[1] == 1)
    if labels.dtype.kind not in "biuf" or not (is_soft or is_flat):
        raise ImpossibleLabel(
            f"{what}{expected_labels(num_classes)} Received: {labels.dtype} {labels.shape}"
        )
    for first in range(0, len(labels), _ROWS):
        rows = labels[first : first + _ROWS]
        bad = _impossible_rows(rows, is_half) if is_soft else _impossible(rows, num_classes)
        if bad.any():
            place = first + int(np.argmax(bad))
            found = f"a row that sums to {labels[place].sum():g}" if is_soft else labels[place]
            raise ImpossibleLabel(
                f"{what}{expected_labels(num_classes)} Received: {np.squeeze(found)} at position "
                f"{place}"
            )


def expected_labels(num_classes: int | None) -> str:
    """Returns what labels should be, as a sentence."""
    if num_classes is None:
        return "Labels should be integers of 0 or more."
    return (
        f"Labels should be integers from 0 to {num_classes - 1}, or rows of {num_classes} numbers "
        "of 0 or more that sum to 1."
    )


def _impossible(labels: np.ndarray, num_classes: int) -> np.ndarray:
    labels = labels.reshape(-1)
    possible = (labels >= 0) & (labels < num_classes)
    if labels.dtype.kind == "f":
        possible &= labels == np.floor(labels)
    return ~possible


def _impossible_rows(labels: np.ndarray, is_half: bool) -> np.ndarray:
    tolerance = HALF_SUM_TOLERANCE if is_half else SUM_TOLERANCE
    sums = labels.sum(axis=1, dtype="float64")
    # A comparison with NaN is false.
    return ~((labels.min(axis=1) >= 0) & (np.abs(sums - 1) <= tolerance))
