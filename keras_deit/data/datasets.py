"""Datasets by name: the embedded digits, a folder of images, or one of TensorFlow Datasets."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Mapping

import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.files import absolute_path
from keras_deit.data.bad_images import BadImages
from keras_deit.data.digits import load_digits
from keras_deit.data.folder import load_folder
from keras_deit.data.images import MAX_IMAGE_PIXELS
from keras_deit.data.levels import (
    DIGITS,
    FOLDERS,
    coarse_classes,
    read_grouping,
    with_coarse_labels,
)
from keras_deit.data.source import Dataset, Source, Subset
from keras_deit.data.splits import fixed_permutation
from keras_deit.data.tfds_source import load_tfds, tfds_class_names, tfds_is_prepared, tfds_size

__all__ = [
    "Dataset",
    "DatasetSize",
    "Source",
    "dataset_size",
    "full_name",
    "is_prepared",
    "load_dataset",
    "load_evaluation_data",
    "loaded_size",
    "say_folder",
    "take_examples",
]

_FOLDER_PREFIX = "folder:"
_OTHER_NAMES = ("digits", f"{_FOLDER_PREFIX}PATH")


def full_name(name: str) -> str:
    """Returns the name of a dataset, with an absolute path if it is a folder.

    Raises:
        InputError: the path is the address of a bucket.
    """
    if not name.startswith(_FOLDER_PREFIX):
        return name
    path = name.removeprefix(_FOLDER_PREFIX)
    return _FOLDER_PREFIX + (path and absolute_path(path))


def load_dataset(
    name: str,
    data_dir: str | None = None,
    on_bad_image: str = "fail",
    test_share: float | None = None,
    max_image_pixels: int = MAX_IMAGE_PIXELS,
    exif_orientation: bool = True,
    coarse: str | Mapping[str, str] | None = None,
) -> Dataset:
    """Loads a dataset by name.

    Args:
        name: "digits" (embedded, no download), "folder:PATH" (images by class), or a name of
            TensorFlow Datasets (TFDS) such as "cifar10" or "imagenet2012".
        data_dir: the directory of TFDS's prepared data; None for TFDS's default.
        on_bad_image: a policy of `BadImages`. With "fail" all files of a folder are checked here;
            with "skip" they are not, and the pipelines skip bad ones.
        test_share: as for `load_folder`.
        max_image_pixels: the most pixels of an image; one that declares more is unreadable.
        exif_orientation: whether to turn the photographs of a folder upright as their EXIF data
            says. Those of TFDS are never turned, as in the published evaluations.
        coarse: coarse labels to train on, besides the fine ones: a JSON file or a dictionary with
            the coarse class of every class; "folders" for folder:PATH with COARSE/FINE/*.jpg;
            "digits" for three groups of the digits. None for one level of labels.

    Raises:
        InputError: the name or the policy is unknown, the data cannot be read, or the coarse labels
            do not fit.
    """
    if coarse is not None:
        grouping = read_grouping(coarse)
        _check_grouping(grouping, name)
        reading = (data_dir, on_bad_image, test_share, max_image_pixels, exif_orientation)
        return with_coarse_labels(_load(name, *reading, grouping == FOLDERS), grouping)
    return _load(name, data_dir, on_bad_image, test_share, max_image_pixels, exif_orientation)


def load_evaluation_data(
    name: str,
    data_dir: str | None = None,
    max_image_pixels: int = MAX_IMAGE_PIXELS,
    exif_orientation: bool = True,
    two_deep: bool = False,
) -> Dataset:
    """Loads data on which a model that is trained is evaluated; files are not checked.

    They need no images for training: without a split train all others are taken as they are, and a
    folder without splits is the test split as a whole. See `load_folder` for the layouts.

    Args:
        name, data_dir, max_image_pixels, exif_orientation: as for `load_dataset`.
        two_deep: whether the classes of a folder are COARSE/FINE, its folders of two levels.

    Returns:
        The dataset, with a validation or a test split; `train` and one of these two may be None.

    Raises:
        InputError: the name is unknown, or the data cannot be read.
    """
    reading = (name, data_dir, "skip", None, max_image_pixels, exif_orientation, two_deep)
    return _load(*reading, to_evaluate=True)


def is_prepared(name: str, data_dir: str | None = None) -> bool:
    """Returns whether a dataset can be loaded without a download.

    Args:
        name, data_dir: as for `load_dataset`.
    """
    if name == "digits" or name.startswith(_FOLDER_PREFIX):
        return True
    return tfds_is_prepared(name, data_dir)


def say_folder(dataset: Dataset, print_fn: Callable[[str], None]) -> None:
    """Prints what was found in a folder: the sizes of its splits, and its notes.

    Args:
        dataset: any dataset; of one that is no folder nothing is printed.
        print_fn: called with each line for the user.
    """
    if not dataset.name.startswith(_FOLDER_PREFIX):
        return
    for title, lines in (("data", (dataset.description,)), ("", dataset.notes)):
        for line in lines:
            # In the columns of the start of a training.
            print_fn(f"{title:24} {line}")


def _check_grouping(grouping: str | Mapping[str, str], name: str) -> None:
    if grouping == FOLDERS and not name.startswith(_FOLDER_PREFIX):
        raise InputError(
            f"coarse={FOLDERS!r} is for {_FOLDER_PREFIX}PATH with COARSE/FINE/*.jpg. "
            f"Received: {name!r}"
        )
    if grouping == DIGITS and name != "digits":
        raise InputError(f"coarse={DIGITS!r} is for the dataset digits. Received: {name!r}")


def _load(
    name: str,
    data_dir: str | None,
    on_bad_image: str,
    test_share: float | None,
    max_image_pixels: int,
    exif_orientation: bool,
    two_deep: bool = False,
    to_evaluate: bool = False,
) -> Dataset:
    policy = BadImages(on_bad_image).policy
    if name.startswith(_FOLDER_PREFIX):
        path = full_name(name).removeprefix(_FOLDER_PREFIX)
        reading = (policy == "fail", test_share, max_image_pixels, exif_orientation, two_deep)
        return load_folder(path, *reading, to_evaluate)
    if test_share is not None:
        raise InputError(f"test_share is for {_FOLDER_PREFIX}PATH. Received: {name!r}")
    if name == "digits":
        return load_digits()
    if os.path.isdir(os.path.expanduser(name)):
        raise InputError(f"{name!r} is a folder: give {_FOLDER_PREFIX}{name}.")
    return load_tfds(name, data_dir, _OTHER_NAMES, max_image_pixels, to_evaluate)


@dataclasses.dataclass(frozen=True)
class DatasetSize:
    """The size of a dataset.

    Attributes:
        name: the name of the dataset.
        classes: the number of classes.
        examples: the number of training examples, without those that are held out for validation
            and test.
        side: the median of the shorter sides of some images, in pixels; None if it is not known.
        held_out: the numbers of examples of the other splits, in words; empty if not known.
        notes: as of a `Dataset`.
    """

    name: str
    classes: int
    examples: int
    side: int | None = None
    held_out: str = dataclasses.field(default="", compare=False)
    notes: tuple[str, ...] = dataclasses.field(default=(), compare=False)


# How many images are read to know how large they are.
_SAMPLED_IMAGES = 32


def dataset_size(
    name: str,
    data_dir: str | None = None,
    test_share: float | None = None,
    with_side: bool = False,
    coarse: str | Mapping[str, str] | None = None,
) -> DatasetSize:
    """Returns the size of a dataset, without preparing data.

    Args:
        name, data_dir, test_share, coarse: as for `load_dataset`.
        with_side: whether to read some images for `side`.

    Raises:
        InputError: the name is unknown, the size is not known before the data is prepared, or the
            coarse labels do not fit.
    """
    is_folder = name.startswith(_FOLDER_PREFIX) or os.path.isdir(os.path.expanduser(name))
    if name != "digits" and not is_folder:
        size = DatasetSize(*tfds_size(name, data_dir, _OTHER_NAMES))
        if coarse is None:
            return size
        grouping = read_grouping(coarse)
        _check_grouping(grouping, name)
        names = tfds_class_names(name, data_dir, _OTHER_NAMES)
        return dataclasses.replace(size, classes=len(coarse_classes(name, names, grouping)[0]))
    dataset = load_dataset(name, on_bad_image="skip", test_share=test_share, coarse=coarse)
    return loaded_size(dataset, with_side)


def loaded_size(dataset: Dataset, with_side: bool = False) -> DatasetSize:
    """Returns the size of a dataset that is loaded."""
    side = _median_side(dataset.train) if with_side else None
    held_out = {split: count for split, count in dataset.examples.items() if split != "train"}
    return DatasetSize(
        *(dataset.name, dataset.num_classes, len(dataset.train), side),
        held_out=", ".join(f"{split} {count:,}" for split, count in held_out.items()),
        notes=dataset.notes,
    )


def _median_side(source: Source) -> int | None:
    """Returns the median of the shorter sides of some images; None if none can be read."""
    sides = []
    for index in np.linspace(0, len(source) - 1, min(_SAMPLED_IMAGES, len(source)), dtype=int):
        # What cannot be read is refused or skipped when the training reads all images.
        with contextlib.suppress(InputError):
            sides.append(min(source[int(index)][0].shape[:2]))
    return int(np.median(sides)) if sides else None


def take_examples(source: Source, count: int) -> Source:
    """Returns the first `count` examples in an order that is the same in every run.

    If the labels are known, the order cycles through the classes, so the number of examples of any
    two classes differs by at most one until a class has no more examples.

    Raises:
        InputError: `count` is below 1 or above the number of examples.
    """
    if not 1 <= count <= len(source):
        raise InputError(f"Cannot take {count} of {len(source)} examples: give 1 to {len(source)}.")
    order = fixed_permutation(len(source))
    labels = getattr(source, "labels", None)
    if labels is not None:
        order = order[_order_by_rank(labels[order])]
    return Subset(source, order[:count])


def _order_by_rank(labels: np.ndarray) -> np.ndarray:
    """Returns indices: of the first example of each class, of the second of each class, ..."""
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    starts = np.cumsum(counts) - counts
    rank = np.empty(len(labels), np.int64)
    rank[by_class] = np.arange(len(labels)) - np.repeat(starts, counts)
    return np.lexsort((labels, rank))
