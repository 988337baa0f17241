"""The evaluation sets of ImageNet-1k: val with its labels and with ReaL's, and ImageNet-V2."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Sequence

import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.files import file_digest, parse_json, user_path
from keras_deit.data.fingerprint import fingerprint_of
from keras_deit.data.folder import FileSource
from keras_deit.data.folder_files import image_files, listed
from keras_deit.data.images import MAX_IMAGE_PIXELS
from keras_deit.data.source import Source
from keras_deit.data.tfds_source import load_prepared_split
from keras_deit.models.imagenet import imagenet_synsets

# The published numbers of images; of those of val so many have labels of ReaL.
SIZES = {"val": 50_000, "real": 46_837, "v2": 10_000}

_NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})\.")


@dataclasses.dataclass(frozen=True)
class ImagenetSet:
    """An evaluation set whose labels are ImageNet's class indices.

    Attributes:
        source: the images with their labels.
        digest: identifies the files.
        real: ReaL's class indices of each image of val, which may be none; None if not known.
        real_digest: identifies these.
    """

    source: Source
    digest: str
    real: tuple[frozenset[int], ...] | None = None
    real_digest: str = ""


def load_imagenet_sets(
    val: str | None = None,
    v2: str | None = None,
    real: str | None = None,
    data_dir: str | None = None,
    max_pixels: int = MAX_IMAGE_PIXELS,
) -> dict[str, ImagenetSet]:
    """Loads "val" and "v2", or one of them.

    Args:
        val, v2: folders with a folder for each class, named by its WordNet id (n01440764) or its
            index (0 to 999).
        real: ReaL's file `real.json`: a list of the class indices of each image of val, in the
            order of the numbers in their file names.
        data_dir: folder of prepared data of TensorFlow Datasets, for what is not given:
            imagenet2012 or, with ReaL's labels, imagenet2012_real, and imagenet_v2.
        max_pixels: the most pixels of an image.

    Raises:
        InputError: there is none of the two, or one is not as above.
    """
    labels = _real_labels(real) if real is not None else None
    sets = {}
    if val is not None:
        source, digest = _folder(val, max_pixels)
        names = [os.path.basename(path) for path in source.paths]
        sets["val"] = _with_real(source, digest, names.__getitem__, labels, real)
    elif data_dir is not None and (found := _tfds_val(data_dir, labels, real, max_pixels)):
        sets["val"] = found
    if v2 is not None:
        sets["v2"] = ImagenetSet(*_folder(v2, max_pixels))
    elif data_dir is not None and (
        found := load_prepared_split("imagenet_v2", data_dir, "test", max_pixels=max_pixels)
    ):
        sets["v2"] = ImagenetSet(found[0], _digest(found[2]))
    if not sets:
        missing = f" {data_dir} has none of imagenet2012, imagenet2012_real, imagenet_v2."
        raise InputError(
            "Give the folder of ImageNet's validation images, that of ImageNet-V2 or both, or the "
            f"folder of prepared data of TensorFlow Datasets.{missing if data_dir else ''}"
        )
    if labels is not None and "val" not in sets:
        raise InputError("ReaL's labels are for ImageNet's validation images, which are missing.")
    return sets


def _folder(path: str, max_pixels: int) -> tuple[FileSource, str]:
    """Returns the images by class folder, in the order of the classes, and their digest."""
    root = user_path(path)
    if not root.is_dir():
        raise InputError(f"There is no folder {str(root)!r}.")
    indices = {synset: index for index, synset in enumerate(imagenet_synsets())}
    indices |= {str(index): index for index in range(len(indices))}
    folders = {entry.name: entry.path for entry in os.scandir(root) if entry.is_dir()}
    unknown = sorted(name for name in folders if name not in indices)
    if unknown or not folders:
        raise InputError(
            f"{root} should hold a folder for each class of ImageNet, named by its WordNet id, "
            f"such as n01440764, or its index. Received: {listed(unknown) or 'no folders'}"
        )
    paths, labels = [], []
    for name in sorted(folders, key=indices.__getitem__):
        files = image_files(folders[name])
        paths += files
        labels += [indices[name]] * len(files)
    # As in the published evaluations, photographs are not turned as their EXIF data says.
    source = FileSource(paths, np.array(labels), max_pixels, exif_orientation=False)
    source.check()
    return source, _digest(fingerprint_of(root, paths))


def _tfds_val(
    data_dir: str, labels: Sequence | None, real: str | None, max_pixels: int
) -> ImagenetSet | None:
    if labels is None and (
        found := load_prepared_split(
            "imagenet2012_real", data_dir, "validation", "original_label", max_pixels
        )
    ):
        source, examples, fingerprint = found
        own = tuple(
            frozenset(map(int, examples[index]["real_label"])) for index in range(len(examples))
        )
        return ImagenetSet(source, _digest(fingerprint), own, _digest(fingerprint))
    found = load_prepared_split("imagenet2012", data_dir, "validation", max_pixels=max_pixels)
    if found is None:
        return None
    source, examples, fingerprint = found

    def name(index: int) -> str:
        text = examples[index]["file_name"]
        return text.decode() if isinstance(text, bytes) else str(text)

    return _with_real(source, _digest(fingerprint), name, labels, real)


def _with_real(
    source: Source, digest: str, name: Callable[[int], str], labels, path: str | None
) -> ImagenetSet:
    """Returns a set with the labels of ReaL, by the numbers in the names of the files."""
    if labels is None:
        return ImagenetSet(source, digest)
    found = []
    for index in range(len(source)):
        number = _NUMBER.search(name(index))
        position = int(number[1]) if number else 0
        if not 1 <= position <= len(labels):
            raise InputError(
                f"{path} has no labels for {name(index)}: it has {len(labels)}, for files named "
                "ILSVRC2012_val_00000001.JPEG and so on."
            )
        found.append(labels[position - 1])
    return ImagenetSet(source, digest, tuple(found), file_digest(user_path(path)))


def _real_labels(path: str) -> list[frozenset[int]]:
    file = pathlib.Path(user_path(path))
    try:
        values = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"ReaL's labels {path} cannot be read: {error}") from error
    classes = range(len(imagenet_synsets()))
    if not isinstance(values, list) or not all(
        isinstance(row, list) and all(type(label) is int and label in classes for label in row)
        for row in values
    ):
        raise InputError(f"{path} should hold a list of class indices (0 to 999) for each image.")
    return [frozenset(row) for row in values]


def _digest(fingerprint) -> str:
    return fingerprint.digest if fingerprint else ""
