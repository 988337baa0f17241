"""A folder of images by class, with its own splits or with fixed ones."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from keras_deit.core.errors import InputError
from keras_deit.data.images import EncodedImage, UnreadableImage
from keras_deit.data.source import Dataset, Source, Subset
from keras_deit.data.splits import TEST_PERCENT, VALIDATION_PERCENT, stratified_split

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_VALIDATION_NAMES = ("validation", "val")
_PERCENTS = {"test": TEST_PERCENT, "validation": VALIDATION_PERCENT}
_MAX_LISTED = 20
_MIN_FILES_FOR_PROGRESS = 1000
_FILES_PER_TASK = 64


class FileSource:
    """Reads and decodes an image file when its example is accessed.

    Args:
        paths: the paths of the image files.
        labels: the class index of each file, integers (count,).
    """

    def __init__(self, paths: list[str], labels: np.ndarray):
        self.paths = paths
        self.labels = np.asarray(labels, np.int64)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        image, label = self.read(index)
        return image.decode(), label

    def read(self, index: int) -> tuple[EncodedImage, int]:
        return _read(self.paths[index]), int(self.labels[index])


def load_folder(path: str, check: bool = True) -> Dataset:
    """Loads images that are sorted into one folder per class.

    Two layouts are supported:

    - `PATH/train/CLASS/*.jpg`, and beside `train` the folders `validation` (or `val`) and `test`.
      A missing split is held out of `train`: 20 % for test, 10 % for validation.
    - `PATH/CLASS/*.jpg`, of which 70 % are for training, 10 % for validation and 20 % for test.

    Held-out splits are stratified by class and the same for every training seed. Class indices
    follow the sorted names of the class folders. Image files are recognized by suffix (.jpg, .jpeg,
    .png, .bmp or .webp in any case); hidden files are ignored.

    Args:
        path: the path of the folder.
        check: whether to decode every file once now, so that a run does not fail on a bad file
            after hours. Unreadable files are never left out, because the index of an example
            depends on the names of the files only.

    Raises:
        InputError: there are no images, fewer than two classes, classes that differ between the
            splits or have too few images, or unreadable files, all of which are named.
    """
    root = Path(path)
    if not path or not root.is_dir():
        raise InputError(f"No such folder: {path!r}. Give folder:PATH, PATH holding CLASS/*.jpg.")
    folders = _split_folders(root)
    files = {split: _files_by_class(folder) for split, folder in folders.items()}
    class_names = tuple(sorted(files["train"]))
    _check_classes(files, folders)
    sources: dict[str, Source] = {
        split: _file_source(by_class, class_names) for split, by_class in files.items()
    }
    if check:
        _require_readable([file for source in sources.values() for file in source.paths])
    missing = {split: percent for split, percent in _PERCENTS.items() if split not in sources}
    if missing:
        train = sources["train"]
        cut = stratified_split(train.labels, missing, class_names, str(folders["train"]))
        sources.update({split: Subset(train, indices) for split, indices in cut.items()})
    return Dataset(name=f"folder:{path}", class_names=class_names, **sources)


def _split_folders(root: Path) -> dict[str, Path]:
    """Returns the folder of each split that has one; `root` as "train" if none has."""
    found = {name: root / name for name in ("train", *_VALIDATION_NAMES, "test")}
    found = {name: folder for name, folder in found.items() if folder.is_dir()}
    if not found:
        return {"train": root}
    if "train" not in found:
        raise InputError(f"{root} has a folder {next(iter(found))!r} but no folder 'train'.")
    if all(name in found for name in _VALIDATION_NAMES):
        raise InputError(f"{root} has both a folder 'validation' and a folder 'val': keep one.")
    return {"validation" if name == "val" else name: folder for name, folder in found.items()}


def _files_by_class(folder: Path) -> dict[str, list[str]]:
    """Returns the sorted image files of each class folder, by the name of the folder."""
    with os.scandir(folder) as entries:
        classes = [entry for entry in entries if entry.is_dir() and entry.name[0] != "."]
    return {entry.name: _image_files(entry.path) for entry in classes}


def _image_files(folder: str) -> list[str]:
    names = sorted(name for name in os.listdir(folder) if name[0] != ".")
    return [os.path.join(folder, name) for name in names if name.lower().endswith(_SUFFIXES)]


def _check_classes(files: dict[str, dict[str, list[str]]], folders: dict[str, Path]) -> None:
    train = set(files["train"])
    for split, by_class in files.items():
        folder = folders[split]
        empty = sorted(name for name, paths in by_class.items() if not paths)
        if len(empty) == len(by_class):
            raise InputError(f"No images in {folder}: expected CLASS/*{'|'.join(_SUFFIXES)}.")
        if len(by_class) == 1:
            raise InputError(f"{folder} has one class, {min(by_class)!r}: at least two are needed.")
        if empty:
            raise InputError(f"No images in class folders of {folder}: {_listed(empty)}.")
        if set(by_class) != train:
            different = sorted(train.symmetric_difference(by_class))
            raise InputError(
                f"{folder} and {folders['train']} must have the same classes; only one of the two "
                f"has: {_listed(different)}."
            )


def _file_source(by_class: dict[str, list[str]], class_names: tuple[str, ...]) -> FileSource:
    counts = [len(by_class[name]) for name in class_names]
    paths = [path for name in class_names for path in by_class[name]]
    return FileSource(paths, np.repeat(np.arange(len(class_names)), counts))


def _read(path: str) -> EncodedImage:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UnreadableImage(f"Cannot read image {path}: {error.strerror}.", path) from error
    return EncodedImage(data, path)


def _is_unreadable(path: str) -> bool:
    try:
        _read(path).decode()
    except InputError:
        return True
    return False


def _require_readable(paths: list[str]) -> None:
    groups = [paths[i : i + _FILES_PER_TASK] for i in range(0, len(paths), _FILES_PER_TASK)]
    unreadable = []
    with (
        ThreadPoolExecutor() as pool,
        tqdm(
            total=len(paths),
            desc="Checking images",
            unit="image",
            disable=len(paths) <= _MIN_FILES_FOR_PROGRESS,
        ) as progress,
    ):
        check = pool.map(lambda group: list(filter(_is_unreadable, group)), groups)
        for group, bad in zip(groups, check, strict=True):
            unreadable += bad
            progress.update(len(group))
    if unreadable:
        noun = "file" if len(unreadable) == 1 else "files"
        raise InputError(
            f"{len(unreadable)} unreadable image {noun}: {_listed(unreadable)}. "
            'Repair or remove them, or give on_bad_image="skip".'
        )


def _listed(names: list[str]) -> str:
    more = len(names) - _MAX_LISTED
    return ", ".join(names[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
