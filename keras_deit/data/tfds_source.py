"""Datasets of TensorFlow Datasets (TFDS), read with random access and without TensorFlow."""

import contextlib
import difflib
import json
import logging
import os
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from keras_deit.core.errors import InputError, not_installed, unknown_name
from keras_deit.core.files import absolute_path, user_path
from keras_deit.core.labels import class_index
from keras_deit.core.network import failing_quickly
from keras_deit.core.progress import on_terminal
from keras_deit.data.fingerprint import Fingerprint, fingerprint_of
from keras_deit.data.images import MAX_IMAGE_PIXELS, EncodedImage, UnreadableImage
from keras_deit.data.source import Dataset, Source, Subset
from keras_deit.data.splits import TEST_PERCENT, VALIDATION_PERCENT, fixed_permutation
from keras_deit.data.tfds_downloads import check_host_of_name, why_not_downloadable

_logger = logging.getLogger("keras_deit")

# Their test labels are not published; TFDS has -1 for them. As in the literature, accuracy is
# reported on "validation".
_UNLABELED_TEST = frozenset({"imagenet2012", "i_naturalist2017", "i_naturalist2018"})

# The files of larger prepared data are compared by their sizes.
_MAX_DIGESTED_BYTES = 2**30

# About a hundredth of ImageNet, which is enough for a validation; the rest is for training.
_MAX_VALIDATION = 10_000

# What is trusted in a prepared dataset, and under which keys the names of classes stand in the
# present and in the old format of TFDS.
_OWN_CLASSES = "tensorflow_datasets."
_CLASS_KEYS = {"pythonClassName", "python_class_name", "type"}
_MAX_FEATURES_BYTES = 2**26

# What no name of TFDS begins with, or holds: DATASET/CONFIG has one slash.
# DATASET/CONFIG/ARGUMENT=VALUE has two.
_PATH = re.compile(r"[./~]|.*/.*/(?!\w+=)|.*/$|\w:[/\\]")


class TfdsSource:
    """A source of the examples of a split of a TFDS dataset.

    Args:
        examples: a TFDS data source whose images are not decoded.
        name: the name of the split for an error.
        num_classes: the number of classes.
        max_pixels: the most pixels of an image; one that declares more is unreadable.
        label: the name of the feature with the class index.
    """

    def __init__(
        self,
        examples: Sequence,
        name: str,
        num_classes: int,
        max_pixels: int = MAX_IMAGE_PIXELS,
        label: str = "label",
    ):
        self._label = label
        self._examples = examples
        self._name = name
        self._num_classes = num_classes
        self._max_pixels = max_pixels

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        image, label = self.read(index)
        return image.decode(), label

    def read(self, index: int) -> tuple[EncodedImage, int]:
        name = f"{index} of {self._name}"
        try:
            example = self._examples[index]
        except (OSError, RuntimeError) as error:  # RuntimeError for a wrong checksum.
            raise UnreadableImage(
                f"Cannot read image {name}: {_first_line(error)}", name
            ) from error
        label = class_index(example[self._label], self._num_classes)
        # As in the published evaluations, photographs are not turned as their EXIF data says.
        image = EncodedImage(example["image"], name, self._max_pixels, exif_orientation=False)
        return image, label


def load_tfds(
    name: str,
    data_dir: str | None,
    other_names: Sequence[str] = (),
    max_pixels: int = MAX_IMAGE_PIXELS,
    to_evaluate: bool = False,
) -> Dataset:
    """Loads a dataset of TFDS, and prepares it first if needed.

    The test split is the published test split, or the published validation split if there is no
    labeled test split. A split that is then missing is held out of train by a fixed permutation:
    20 % for test; 10 % for validation, but at most 10,000 examples.

    Args:
        name: the name of the dataset, optionally with configuration and version:
            "name/config:1.0.0".
        data_dir: the directory of the prepared data; None for TFDS's default.
        other_names: names of datasets outside of TFDS, for the error about an unknown name.
        max_pixels: as for `TfdsSource`.
        to_evaluate: whether the data need no split train, as imagenet_v2; then no split is missing.

    Raises:
        InputError: the name is unknown, the data is not prepared and cannot be prepared, it is not
            for image classification, or TFDS is not installed.
    """
    builder = tfds_builder(name, data_dir, other_names)
    _check_features(builder, name)
    prepare(builder, name)
    roles = choose_splits(builder.info.name, _split_names(builder), to_evaluate)
    sources: dict[str, Source] = {
        role: _source(builder, split, max_pixels)
        for role, split in roles.items()
        if split is not None
    }
    class_names = tuple(builder.info.features["label"].names)
    return Dataset(
        name=name,
        class_names=class_names,
        fingerprint=_fingerprint(builder.data_path),
        **(_hold_out(sources) if "train" in sources else sources),
    )


def _fingerprint(folder) -> Fingerprint | None:
    """Returns the fingerprint of a folder of prepared data; None if it is not on a disk."""
    path = pathlib.Path(folder)
    if not path.is_dir():
        return None
    paths = sorted(str(file) for file in path.iterdir() if file.is_file())
    return fingerprint_of(path, paths, _MAX_DIGESTED_BYTES) if paths else None


def load_prepared_split(
    name: str, data_dir: str, split: str, label: str = "label", max_pixels: int = MAX_IMAGE_PIXELS
) -> tuple[TfdsSource, Sequence, Fingerprint | None] | None:
    """Loads one split of a TFDS dataset that is prepared; None if it is not.

    Args:
        name, data_dir: as for `load_tfds`.
        split: the name of the split.
        label: the name of the feature with the class index.
        max_pixels: as for `TfdsSource`.

    Returns:
        The source; the examples, whose images are not decoded; and the fingerprint of the files.

    Raises:
        InputError: as for `load_tfds`, or there is no such split.
    """
    import tensorflow_datasets as tfds

    builder = tfds_builder(name, data_dir, ())
    if not (pathlib.Path(builder.data_path) / "dataset_info.json").is_file():
        return None
    if split not in builder.info.splits:
        raise InputError(f"Dataset {name!r} has no split {split!r}.")
    examples = builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    title = f"split {split!r} of {builder.info.full_name}"
    source = TfdsSource(
        examples, title, builder.info.features[label].num_classes, max_pixels, label
    )
    return source, examples, _fingerprint(builder.data_path)


def tfds_is_prepared(name: str, data_dir: str | None) -> bool:
    """Returns whether a dataset can be read without a download; arguments as for `load_tfds`."""
    builder = tfds_builder(name, data_dir, ())
    return (pathlib.Path(builder.data_path) / "dataset_info.json").is_file()


def tfds_size(
    name: str, data_dir: str | None, other_names: Sequence[str] = ()
) -> tuple[str, int, int]:
    """Returns name, number of classes and number of training examples, without preparing data.

    The arguments are those of `load_tfds`.

    Raises:
        InputError: as for `load_tfds`, or TFDS does not know the size before the data is prepared.
    """
    builder = tfds_builder(name, data_dir, other_names)
    _check_features(builder, name)
    if not builder.info.splits:
        raise InputError(
            f"Dataset {name!r} is not prepared in {builder.data_dir_root}, and TFDS does not know "
            "its size before that; give it with --plan_examples and --plan_classes."
        )
    roles = choose_splits(builder.info.name, list(builder.info.splits))
    sources = {
        role: range(builder.info.splits[split].num_examples)
        for role, split in roles.items()
        if split is not None
    }
    classes = builder.info.features["label"].num_classes
    return name, classes, len(_hold_out(sources)["train"])


def tfds_class_names(
    name: str, data_dir: str | None, other_names: Sequence[str] = ()
) -> tuple[str, ...]:
    """Returns the names of the classes, without preparing data; arguments as for `load_tfds`."""
    return tuple(tfds_builder(name, data_dir, other_names).info.features["label"].names)


def choose_splits(
    name: str, available: Sequence[str], to_evaluate: bool = False
) -> dict[str, str | None]:
    """Returns the published splits to use as "train", "validation" and "test"; None if missing.

    Args:
        name: the name of the dataset, without configuration and version.
        available: the names of its splits.
        to_evaluate: whether a split "validation" or "test" is enough.

    Raises:
        InputError: there is no split "train".
    """
    train = "train" if "train" in available else None
    labeled = {"validation", "val", *({"test"} if name not in _UNLABELED_TEST else ())}
    if train is None and not (to_evaluate and labeled & {*available}):
        raise InputError(f"Dataset {name!r} has no split 'train', only: {', '.join(available)}.")
    validation = next((split for split in ("validation", "val") if split in available), None)
    if "test" in available and name not in _UNLABELED_TEST:
        return {"train": train, "validation": validation, "test": "test"}
    return {"train": train, "validation": None, "test": validation}


def tfds_builder(name: str, data_dir: str | None, other_names: Sequence[str]):
    """Returns TFDS's builder of a dataset; arguments and errors are those of `load_tfds`."""
    if _PATH.match(name):
        raise _no_dataset(name, other_names)
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        known = ", ".join(other_names)
        raise not_installed(
            f"Dataset {name!r}, of TensorFlow Datasets,", "tfds", f"Without them: {known}."
        ) from error
    check_host_of_name(name)
    data_dir = data_dir and absolute_path(data_dir)
    for folder in tfds.core.utils.file_utils.list_data_dirs(data_dir):
        _check_prepared_features(name, folder)
    try:
        # Only the format array_record of TFDS has random access and needs no TensorFlow.
        return tfds.builder(name, data_dir=data_dir, file_format="array_record")
    except tfds.core.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        # A name and its configuration look like a path; a misspelled one is close to another.
        if "/" in name and not difflib.get_close_matches(name.split("/")[0], known, cutoff=0.8):
            raise _no_dataset(name, other_names) from error
        unknown = unknown_name("dataset", name, [*known, *other_names])
        raise InputError(f"{unknown} Others are {', '.join(other_names)}.") from error
    except Exception as error:  # Of many types, such as AssertionError for an unknown version.
        raise InputError(f"Cannot open dataset {name!r}: {_first_line(error)}") from error


def _no_dataset(path: str, other_names: Sequence[str]) -> InputError:
    """Returns the error for a path in place of the name of a dataset."""
    exists = user_path(path).exists()
    wrong = f"{path!r} is not a dataset." if exists else f"The folder {path!r} does not exist."
    forms = ", ".join(other_names)
    return InputError(f"{wrong} A dataset is {forms}, or a name of TensorFlow Datasets.")


def _check_prepared_features(name: str, data_dir: str) -> None:
    """Checks the `features.json` of prepared data, before TFDS imports the classes it names.

    TFDS imports any module that is named there, and with it runs its code.

    Raises:
        InputError: one names a class outside of TFDS, or cannot be read.
    """
    names = {_plain(part) for part in re.split("[/:]", name)}
    with contextlib.suppress(OSError), os.scandir(data_dir) as entries:
        folders = [entry.path for entry in entries if _plain(entry.name) in names]
        for folder in folders:
            for depth in ("", "*/", "*/*/"):  # DATASET/VERSION or DATASET/CONFIG/VERSION
                for path in sorted(pathlib.Path(folder).glob(f"{depth}features.json")):
                    _check_classes(path)


def _plain(name: str) -> str:
    # TFDS takes TinyPhotos for tiny_photos.
    return re.sub("[^a-z0-9]", "", name.lower())


def _check_classes(path: pathlib.Path) -> None:
    try:
        if not path.is_file() or path.stat().st_size > _MAX_FEATURES_BYTES:
            raise InputError(f"{path} is not a file of features: it is too large, or no file.")
        values = [json.loads(path.read_text("utf-8"))]
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {_first_line(error)}") from error
    while values:
        value = values.pop()
        if isinstance(value, dict):
            for key in _CLASS_KEYS & value.keys():
                class_name = value[key]
                if isinstance(class_name, str) and not class_name.startswith(_OWN_CLASSES):
                    raise InputError(
                        f"{path} names the class {class_name!r}, which TFDS would import and run. "
                        f"Only classes of {_OWN_CLASSES}* are trusted."
                    )
            values += value.values()
        elif isinstance(value, list):
            values += value


def _check_features(builder, name: str) -> None:
    import tensorflow_datasets as tfds

    features = dict(builder.info.features.items())
    if not isinstance(features.get("image"), tfds.features.Image) or not isinstance(
        features.get("label"), tfds.features.ClassLabel
    ):
        raise InputError(
            f"Dataset {name!r} is not for image classification: it should have the features "
            f"`image` and `label`, but has {', '.join(sorted(features))}."
        )


def prepare(builder, name: str) -> None:
    import tensorflow_datasets as tfds

    if (pathlib.Path(builder.data_path) / "dataset_info.json").is_file():
        return
    directory = pathlib.Path(builder.data_dir_root)
    _logger.warning("Dataset %r is not prepared in %s; preparing it now.", name, directory)
    reason, error = why_not_downloadable(builder), None
    if not reason:
        try:
            if not on_terminal():
                tfds.disable_progress_bar()
            with failing_quickly():
                builder.download_and_prepare()
            return
        except Exception as raised:  # Of any type: it depends on the host of the dataset.
            error, reason = raised, _first_line(raised)
    raise InputError(
        f"Dataset {name!r} is not prepared in {directory} and cannot be prepared now ({reason}). "
        f"Prepare it where there is a network: "
        f"tfds build {name} --data_dir={directory} --file_format=array_record"
    ) from error


def _split_names(builder) -> list[str]:
    # Under `tfds.testing.mock_data` a builder knows no splits and accepts any name.
    return list(builder.info.splits) or ["train", "validation", "test"]


def _source(builder, split: str, max_pixels: int) -> TfdsSource:
    import tensorflow_datasets as tfds

    examples = builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    if int(examples[0]["label"]) < 0:
        raise InputError(f"Split {split!r} of {builder.info.full_name} has no labels.")
    classes = builder.info.features["label"].num_classes
    return TfdsSource(examples, f"split {split!r} of {builder.info.full_name}", classes, max_pixels)


def _hold_out(sources: dict[str, Source]) -> dict[str, Source]:
    """Returns the sources with the missing splits held out of train."""
    train = sources["train"]
    count = len(train)
    sizes = {
        "test": -(-count * TEST_PERCENT // 100),
        "validation": min(-(-count * VALIDATION_PERCENT // 100), _MAX_VALIDATION),
    }
    missing = [split for split in sizes if split not in sources]
    if not missing:
        return sources
    order = fixed_permutation(count)
    result = dict(sources)
    for split in missing:
        held_out, order = order[: sizes[split]], order[sizes[split] :]
        result[split] = Subset(train, np.sort(held_out))
    return {**result, "train": Subset(train, np.sort(order))}


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
