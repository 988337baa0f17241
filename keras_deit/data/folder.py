"""A folder of images by class, with its own splits or with fixed ones."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.names import printable
from keras_deit.core.progress import Progress
from keras_deit.data.fingerprint import fingerprint_of
from keras_deit.data.folder_files import SUFFIXES, FolderFiles, listed, scan_folder, split_classes
from keras_deit.data.image_headers import image_size
from keras_deit.data.images import (
    HEADER_BYTES,
    MAX_IMAGE_PIXELS,
    EncodedImage,
    open_regular,
    read_file,
)
from keras_deit.data.source import Dataset, Source, Subset
from keras_deit.data.splits import TEST_PERCENT, VALIDATION_PERCENT, stratified_split

_FILES_PER_TASK = 64


class FileSource:
    """Reads and decodes an image file when its example is accessed.

    Args:
        paths: the paths of the image files.
        labels: the class index of each file, integers (count,).
        max_pixels: the most pixels of an image; one that declares more is unreadable.
        exif_orientation: whether to turn photographs upright as their EXIF data says.
    """

    def __init__(
        self,
        paths: list[str],
        labels: np.ndarray,
        max_pixels: int = MAX_IMAGE_PIXELS,
        exif_orientation: bool = True,
    ):
        self.paths = paths
        self.labels = np.asarray(labels, np.int64)
        self._max_pixels = max_pixels
        self._exif_orientation = exif_orientation

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        image, label = self.read(index)
        return image.decode(), label

    def read(self, index: int) -> tuple[EncodedImage, int]:
        image = _read(self.paths[index], self._max_pixels, self._exif_orientation)
        return image, int(self.labels[index])

    def check(self, indices: Iterable[int] | None = None) -> None:
        """Looks at the beginning and the end of every file, or of those at some indices.

        Raises:
            InputError: some are unreadable; they are named.
        """
        paths = self.paths if indices is None else [self.paths[index] for index in indices]
        _require_readable(paths, self._max_pixels)


def load_folder(
    path: str,
    check: bool = True,
    test_share: float | None = None,
    max_pixels: int = MAX_IMAGE_PIXELS,
    exif_orientation: bool = True,
    two_deep: bool = False,
    to_evaluate: bool = False,
) -> Dataset:
    """Loads images that are sorted into one folder per class.

    Two layouts are supported:

    - `PATH/train/CLASS/*.jpg`, and beside `train` the folders `validation` (or `val`, `valid`) and
      `test`, in any capitals. A missing validation split, 10 %, is held out of `train`. Without
      `test`, the test split is held out too, 20 %, if there is no validation split either or
      `test_share` is given; otherwise there is none, and the validation split is reported.
    - `PATH/CLASS/*.jpg`, of which 70 % are for training, 10 % for validation and 20 % for test.

    Images in folders inside of a class folder belong to the class. Held-out splits are stratified
    by class and the same for every training seed. Class indices follow the sorted names of the
    class folders. Image files are recognized by suffix: all that OpenCV decodes. What is not used
    is in `notes` of the dataset, counted by reason.

    Data to evaluate on need no images for training: splits are taken as they are, also without
    `train`, `PATH/CLASS/*.jpg` is the test split as a whole, and a split may lack classes.

    Args:
        path: the path of the folder.
        check: whether to look at the beginning and the end of every file once now, so that a run
            does not fail on a truncated file after hours, and to refuse images in a format that
            cannot be decoded, such as .heic. Unreadable files are never left out, because the
            index of an example depends on the names of the files only.
        test_share: the share of the images to hold out for test if there is no test split, above 0
            and below 0.9.
        max_pixels: the most pixels of an image; one that declares more is unreadable.
        exif_orientation: whether to turn photographs upright as their EXIF data says.
        two_deep: whether the folders of a class folder are the classes, named CLASS/FOLDER.
        to_evaluate: whether these are data to evaluate on.

    Raises:
        InputError: there are no images, or unreadable files, all of which are named; or for a
            training there are fewer than two classes, or classes that differ between the splits or
            have too few images.
    """
    root = Path(path).expanduser()
    if not path or not root.is_dir():
        raise InputError(f"No such folder: {path!r}. Give folder:PATH, PATH holding CLASS/*.jpg.")
    files = scan_folder(root, to_evaluate)
    if two_deep:
        split_classes(files)
    if check and files.undecodable:
        raise InputError(
            f"{len(files.undecodable)} images in a format that cannot be decoded: "
            f'{listed(files.undecodable)}. Convert them, or give on_bad_image="skip".'
        )
    if to_evaluate:
        _leave_out_empty(files)
    else:
        _check_classes(files)
    class_names = tuple(sorted(set().union(*files.by_class.values())))
    sources: dict[str, Source] = {
        split: _file_source(by_class, class_names, max_pixels, exif_orientation)
        for split, by_class in files.by_class.items()
    }
    if check:
        for source in sources.values():
            source.check()
    missing = _missing_splits(sources, test_share)
    if missing:
        train = sources["train"]
        try:
            cut = stratified_split(train.labels, missing, class_names, str(files.folders["train"]))
        except InputError:
            if not to_evaluate or "test" in missing:
                raise
            cut, missing = {}, {}  # A test set needs no validation split.
        sources.update({split: Subset(train, indices) for split, indices in cut.items()})
    return Dataset(
        name=f"folder:{path}",
        class_names=class_names,
        notes=(
            *_split_notes(files, missing, root),
            *(f"not used: {note}" for note in files.notes()),
        ),
        fingerprint=fingerprint_of(root, files.paths()),
        exif_orientation=exif_orientation,
        **sources,
    )


def _missing_splits(sources: dict[str, Source], test_share: float | None) -> dict[str, float]:
    """Returns the percentage to hold out of train, by split."""
    if test_share is not None and not 0 < test_share < 0.9:
        raise InputError(f"test_share should be above 0 and below 0.9. Received: {test_share}")
    if test_share is not None and "test" in sources:
        raise InputError("test_share is for data without a test split, and there is a folder test.")
    missing = {}
    if "train" not in sources:
        return missing
    if "test" not in sources and (test_share is not None or "validation" not in sources):
        missing["test"] = TEST_PERCENT if test_share is None else 100 * test_share
    if "validation" not in sources:
        missing["validation"] = VALIDATION_PERCENT
    return missing


def _split_notes(files: FolderFiles, missing: dict[str, float], root: Path) -> list[str]:
    notes = [f"{split}: held out of train, {percent:g} %" for split, percent in missing.items()]
    if "test" not in files.folders and "test" not in missing:
        instead = " (test_share holds one out)" if "train" in files.folders else ""
        notes.append(f"test: none; the validation split is reported{instead}")
    if files.folders.get("test") == root:
        notes.append("test: the whole folder, which has no splits")
    return notes


def _leave_out_empty(files: FolderFiles) -> None:
    """Leaves out classes and splits without images.

    Raises:
        InputError: nothing is left.
    """
    found = {
        split: {name: paths for name, paths in by_class.items() if paths}
        for split, by_class in files.by_class.items()
    }
    files.by_class = {split: by_class for split, by_class in found.items() if by_class}
    if not files.by_class:
        folders = ", ".join(map(str, files.folders.values()))
        raise InputError(f"No images in {folders}: expected CLASS/*{'|'.join(SUFFIXES)}.")
    files.folders = {split: files.folders[split] for split in files.by_class}


def _check_classes(files: FolderFiles) -> None:
    train = set(files.by_class["train"])
    for split, by_class in files.by_class.items():
        folder = files.folders[split]
        empty = sorted(name for name, paths in by_class.items() if not paths)
        if len(empty) == len(by_class):
            raise InputError(f"No images in {folder}: expected CLASS/*{'|'.join(SUFFIXES)}.")
        if len(by_class) == 1:
            raise InputError(f"{folder} has one class, {min(by_class)!r}: at least two are needed.")
        if empty:
            raise InputError(f"No images in class folders of {folder}: {listed(empty)}.")
        if set(by_class) != train:
            different = sorted(train.symmetric_difference(by_class))
            raise InputError(
                f"{folder} and {files.folders['train']} must have the same classes; only one of "
                f"the two has: {listed(different)}."
            )


def _file_source(
    by_class: dict[str, list[str]], class_names: tuple[str, ...], *options
) -> FileSource:
    counts = [len(by_class.get(name, ())) for name in class_names]
    paths = [path for name in class_names for path in by_class.get(name, ())]
    return FileSource(paths, np.repeat(np.arange(len(class_names)), counts), *options)


def _read(path: str, max_pixels: int, exif_orientation: bool = True) -> EncodedImage:
    name = printable(path)
    return EncodedImage(read_file(path, name, max_pixels), name, max_pixels, exif_orientation)


def _why_unreadable(path: str, max_pixels: int) -> str | None:
    """Returns why a file cannot be used as an image; None if it seems that it can."""
    try:
        if not _seems_complete(path, max_pixels):
            _read(path, max_pixels).decode()
    except InputError as error:
        return str(error)
    return None


def _seems_complete(path: str, max_pixels: int) -> bool:
    """Returns whether a file begins and ends like a complete image of a common format.

    Raises:
        UnreadableImage: it is no regular file.
    """
    with open_regular(path, printable(path)) as file:
        try:
            start = file.read(HEADER_BYTES)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 12))
            end = file.read()
        except OSError:
            return False
    sides = image_size(start)
    if sides is None or sides[0] * sides[1] > max_pixels:
        return False
    if start.startswith(b"\xff\xd8\xff"):
        return end.endswith(b"\xff\xd9")
    if start.startswith(b"\x89PNG\r\n"):
        return b"IEND" in end
    if start.startswith(b"GIF8"):
        return end.endswith(b";")
    if start.startswith(b"RIFF"):
        return size == int.from_bytes(start[4:8], "little") + 8
    if start.startswith(b"BM"):
        return size == int.from_bytes(start[2:6], "little")
    return False


def _require_readable(paths: list[str], max_pixels: int) -> None:
    groups = [paths[i : i + _FILES_PER_TASK] for i in range(0, len(paths), _FILES_PER_TASK)]
    unreadable = {}
    with (
        ThreadPoolExecutor() as pool,
        Progress("Checking images", len(paths), "image") as progress,
    ):
        check = pool.map(
            lambda group: [_why_unreadable(path, max_pixels) for path in group], groups
        )
        for group, reasons in zip(groups, check, strict=True):
            unreadable |= {p: why for p, why in zip(group, reasons, strict=True) if why}
            progress.update(len(group))
    if unreadable:
        noun = "file" if len(unreadable) == 1 else "files"
        raise InputError(
            f"{len(unreadable)} unreadable image {noun}: {listed([*unreadable])}. "
            f'Repair or remove them, or give on_bad_image="skip". '
            f"The first one: {next(iter(unreadable.values()))}"
        )
