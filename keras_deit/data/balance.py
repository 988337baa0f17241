"""Balance between classes with different numbers of images: their weights, and their samples."""

from typing import NamedTuple

import numpy as np

from keras_deit.data.source import Source, read


def source_labels(source: Source) -> np.ndarray:
    """Returns the class index of every example, int64; reads the examples if they must be."""
    labels = getattr(source, "labels", None)
    if labels is None:
        labels = np.array([read(source, index)[1] for index in range(len(source))], np.int64)
    return labels


def balanced_class_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns a weight for each class in inverse proportion to its number of examples.

    With N examples of C classes, a class with n of them has the weight N / (C n), as scikit-learn's
    "balanced". The mean weight over the examples is 1. A class without examples has the weight 0
    and does not count in C.

    Args:
        labels: the class index of every example, integers (N,).
        num_classes: the number of classes K.

    Returns:
        float64 (K,).
    """
    counts = np.bincount(labels, minlength=num_classes)
    present = counts > 0
    weights = len(labels) / (present.sum() * np.maximum(counts, 1))
    return np.where(present, weights, 0.0)


class Order(NamedTuple):
    """The order of the samples of an epoch.

    Attributes:
        indices: the index of each sample in its source.
        occurrences: how often the example has occurred in this epoch before, for each sample; None
            if no example occurs twice.
    """

    indices: np.ndarray
    occurrences: np.ndarray | None = None


class ClassGroups:
    """The examples of each class, of which an epoch draws equally many.

    Args:
        labels: the class index of every example, integers (N,).
    """

    def __init__(self, labels: np.ndarray):
        by_class = np.argsort(labels, kind="stable")
        counts = np.bincount(labels)
        self._groups = [x for x in np.split(by_class, np.cumsum(counts)[:-1]) if len(x)]

    def draw(self, rng: np.random.Generator) -> Order:
        """Draws as many samples as there are examples, the same number of each class.

        If the classes do not divide it, some have one more. Of a class with more examples than that
        a part is drawn, without repetition; the examples of a smaller one are repeated, all equally
        often but for one.
        """
        total = sum(map(len, self._groups))
        counts = np.full(len(self._groups), total // len(self._groups))
        counts[rng.permutation(len(counts))[: total - counts.sum()]] += 1
        drawn, occurrences = [], []
        for group, count in zip(self._groups, counts, strict=True):
            passes = -(-count // len(group))
            drawn.append(np.concatenate([rng.permutation(group) for _ in range(passes)])[:count])
            occurrences.append(np.arange(count) // len(group))
        order = rng.permutation(total)
        return Order(np.concatenate(drawn)[order], np.concatenate(occurrences)[order])
