"""What a dataset is: three random-access sources of examples, and the names of the classes."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from keras_deit.data.images import EncodedImage


class Source(Protocol):
    """Random access to examples.

    A source may also have `labels`, an int64 array of all its labels, where they are known
    without reading the images, and `read(index)`, which is `[index]` but gives the image as an
    `EncodedImage`, so that no more is decoded than a crop needs.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """The image, uint8 RGB of shape (height, width, 3), and its class index."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A labeled image dataset with its three splits.

    Attributes:
        name: as given to `load_dataset`.
        class_names: the name of class index 0, 1, ...
        train: what the weights are fitted to.
        validation: what choices are made on: the best epoch, hyper-parameters.
        test: what accuracy is reported on; nothing is chosen on it.
    """

    name: str
    class_names: tuple[str, ...]
    train: Source
    validation: Source
    test: Source

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


class ArraySource:
    """Examples held in memory.

    Args:
        images: uint8, (count, height, width, 3), RGB.
        labels: integers, (count,).
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self._images = images
        self.labels = np.asarray(labels, np.int64)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self._images[index], int(self.labels[index])


class Subset:
    """The examples of `source` at `indices`, in that order."""

    def __init__(self, source: Source, indices: Sequence[int] | np.ndarray):
        self._source = source
        self._indices = np.asarray(indices, np.int64)
        labels = getattr(source, "labels", None)
        if labels is not None:
            self.labels = labels[self._indices]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self._source[int(self._indices[index])]

    def read(self, index: int) -> tuple[np.ndarray | EncodedImage, int]:
        return read(self._source, int(self._indices[index]))


def read(source: Source, index: int) -> tuple[np.ndarray | EncodedImage, int]:
    """An example, its image encoded where the source can give it so."""
    return source.read(index) if hasattr(source, "read") else source[index]
