"""Datasets: three sources of examples with random access, and the names of the classes."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from keras_deit.core.labels import ImpossibleLabel, check_labels
from keras_deit.core.names import printable
from keras_deit.data.fingerprint import Fingerprint
from keras_deit.data.images import EncodedImage


class Source(Protocol):
    """Gives random access to examples.

    A source can also have `labels`, an int64 array of all labels, if they are known without reading
    the images; and a method `read(index)`, which returns the image as an `EncodedImage`, so that
    only the resolution that a crop needs is decoded. If its images are files, it has their `paths`.
    One with coarse labels has `fine`, the same examples with their fine ones.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """Returns the image, uint8 RGB (height, width, 3), and its class index."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A labeled image dataset with its splits.

    Attributes:
        name: the name as given to `load_dataset`.
        class_names: the names of the classes by index.
        train: the examples for training. None only in data to evaluate on, see
            `load_evaluation_data`.
        validation: the examples for choosing the best epoch and hyper-parameters; None as above.
        test: the examples for the reported accuracy; nothing is chosen by them. None if the data
            has none; the validation split is reported then.
        notes: lines for the user, such as which files are not used.
        fingerprint: identifies its files; None for data that are part of a package.
        exif_orientation: whether photographs are turned upright as their EXIF data says.
        fine_class_names: of data with two levels of labels, the names of the fine classes by index;
            `class_names` are the coarse ones. Empty for one level.
        coarse_of: the index of the coarse class by that of the fine one.

    Raises:
        ImpossibleLabel: a source has a label that no class has. If its labels are not known, that
            is found when the example is read.
    """

    name: str
    class_names: tuple[str, ...]
    train: Source | None = None
    validation: Source | None = None
    test: Source | None = None
    notes: tuple[str, ...] = ()
    fingerprint: Fingerprint | None = None
    exif_orientation: bool = False
    fine_class_names: tuple[str, ...] = ()
    coarse_of: tuple[int, ...] = ()

    def __post_init__(self):
        for split in self.examples:
            labels = getattr(getattr(self, split), "labels", None)
            if labels is not None:
                check_labels(labels, self.num_classes, f"{self.name}, {split}: ")

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def examples(self) -> dict[str, int]:
        """The number of examples by split."""
        sources = {name: getattr(self, name) for name in ("train", "validation", "test")}
        return {name: len(source) for name, source in sources.items() if source is not None}

    @property
    def reported_split(self) -> str:
        """The split of the reported accuracy: "test", or "validation" if there is no test split."""
        return "validation" if self.test is None else "test"

    @property
    def description(self) -> str:
        """Its name, the number of its classes and the numbers of examples, as one line."""
        counts = ", ".join(f"{split} {count:,}" for split, count in self.examples.items())
        return f"{printable(self.name)}, {self.num_classes} classes, images: {counts}"


class ArraySource:
    """A source of examples in memory.

    Args:
        images: uint8 RGB (count, height, width, 3).
        labels: integers (count,).

    Raises:
        ImpossibleLabel: a label is not an integer.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self._images = images
        self.labels = np.asarray(labels, np.int64)
        if not np.array_equal(self.labels, labels):
            wrong = int(np.argmax(self.labels != np.asarray(labels)))
            raise ImpossibleLabel(
                f"Labels should be integers. Received: {labels[wrong]} at position {wrong}"
            )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self._images[index], int(self.labels[index])


class Subset:
    """A source of the examples of another one at some indices, in that order."""

    def __init__(self, source: Source, indices: Sequence[int] | np.ndarray):
        self._source = source
        self._indices = np.asarray(indices, np.int64)
        labels = getattr(source, "labels", None)
        if labels is not None:
            self.labels = labels[self._indices]
        fine = getattr(source, "fine", None)
        self.fine: Source | None = fine and Subset(fine, indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self._source[int(self._indices[index])]

    def read(self, index: int) -> tuple[np.ndarray | EncodedImage, int]:
        return read(self._source, int(self._indices[index]))

    def check(self) -> None:
        """Checks the files of the examples, if they are files; see `FileSource.check`."""
        if hasattr(self._source, "check"):
            self._source.check(self._indices)


class Relabeled:
    """A source of the examples of another one with other class indices.

    Args:
        source: the other source.
        new_labels: the new class index by the old one.
    """

    def __init__(self, source: Source, new_labels: Sequence[int]):
        self._source = source
        self._new_labels = np.asarray(new_labels, np.int64)
        labels = getattr(source, "labels", None)
        if labels is not None:
            self.labels = self._new_labels[labels]
        if hasattr(source, "paths"):
            self.paths = source.paths
        if hasattr(source, "check"):
            self.check = source.check

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        image, label = self._source[index]
        return image, int(self._new_labels[label])

    def read(self, index: int) -> tuple[np.ndarray | EncodedImage, int]:
        image, label = read(self._source, index)
        return image, int(self._new_labels[label])


def read(source: Source, index: int) -> tuple[np.ndarray | EncodedImage, int]:
    """Returns an example, with its image still encoded if the source has `read`."""
    return source.read(index) if hasattr(source, "read") else source[index]
