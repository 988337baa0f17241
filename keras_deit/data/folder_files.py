"""The image files below a folder: which class and split each belongs to, and which is not used."""

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path

from keras_deit.core.errors import InputError
from keras_deit.core.names import composed, printable

# The names of a split's folder.
_SPLIT_OF = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# What may stand around them, as in seg_train, test_set and valid-images.
_AROUND_SPLIT = re.compile(r"(?:seg[_ -])?([a-z]+?)(?:[_ -]?(?:set|images|data))?")
# What OpenCV decodes, and other images, which must not be dropped without a word.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff"),
    *(".gif", ".jp2", ".avif", ".ppm", ".pgm", ".pbm", ".pnm"),
)
_OTHER_IMAGES = (
    *(".heic", ".heif", ".jxl", ".svg", ".psd", ".ico", ".tga", ".eps", ".exr", ".hdr"),
    *(".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".j2k"),
)
# Folders that archives and file servers leave.
_SYSTEM_FOLDERS = ("__macosx", "@eadir", "lost+found", "system volume information")
_MAX_LISTED = 20


@dataclasses.dataclass
class FolderFiles:
    """The files of a folder of images.

    Attributes:
        folders: the folder of each split that has one; the whole folder as "train", or as "test" of
            data to evaluate on, if none has.
        by_class: by split, the sorted image files of each class, by the name of the class.
        unused: the files that are not used, by the reason.
        undecodable: images in a format that cannot be decoded.
    """

    folders: dict[str, Path]
    by_class: dict[str, dict[str, list[str]]] = dataclasses.field(default_factory=dict)
    unused: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    undecodable: list[str] = dataclasses.field(default_factory=list)

    def paths(self) -> Iterator[str]:
        """Yields the paths of all image files that are used."""
        for by_class in self.by_class.values():
            for paths in by_class.values():
                yield from paths

    def notes(self) -> list[str]:
        """Returns a line for each reason why files are not used."""
        found = dict(self.unused)
        if self.undecodable:
            found["images in a format that cannot be decoded"] = self.undecodable
        return [
            f"{len(files):,} {reason}, such as {printable(min(files))}"
            for reason, files in found.items()
        ]

    def add_unused(self, reason: str, path: str) -> None:
        self.unused.setdefault(reason, []).append(path)


def scan_folder(root: Path, to_evaluate: bool = False) -> FolderFiles:
    """Finds the images below a folder; see `load_folder` for the layouts.

    Args:
        root: the folder.
        to_evaluate: whether it needs no split train, and is the split test if it has no splits.

    Raises:
        InputError: the layout is not one of them.
    """
    folders = _split_folders(root, to_evaluate)
    files = FolderFiles(folders)
    for split, folder in folders.items():
        files.by_class[split] = _files_by_class(folder, files)
    if root not in folders.values():
        above = {str(path) for folder in folders.values() for path in (folder, *folder.parents)}
        for path in _entries(root):
            if path not in above:
                _add_all(path, "files beside the folders of the splits", files)
    _check_order_of_levels(files)
    return files


def split_classes(files: FolderFiles) -> None:
    """Makes a class COARSE/FINE of each folder in a class folder, instead of one of the latter.

    Raises:
        InputError: an image is in a class folder itself.
    """
    for split, by_class in files.by_class.items():
        finer: dict[str, list[str]] = {}
        for coarse, paths in by_class.items():
            for path in paths:
                # The folder may be a link, so that only the place below it counts.
                below = os.path.relpath(path, files.folders[split]).split(os.sep)
                if len(below) < 3:
                    raise InputError(
                        f"{printable(path)} is in no folder of its fine class: expected "
                        "COARSE/FINE/*.jpg."
                    )
                finer.setdefault(f"{coarse}/{composed(below[1])}", []).append(path)
        files.by_class[split] = finer


def split_of(name: str) -> str | None:
    """Returns the split that a folder of a name has, in any capitals; None if it is of none."""
    found = _AROUND_SPLIT.fullmatch(name.lower())
    return found and _SPLIT_OF.get(found[1])


def image_files(folder: str | Path) -> list[str]:
    """Returns the paths of all images below a folder, also those that cannot be decoded.

    Raises:
        InputError: there are none.
    """
    files = list(_images_below(folder))
    if not files:
        raise InputError(f"No images in {folder}.")
    return files


def listed(names: list[str]) -> str:
    """Returns the first names with commas between them, and how many more there are."""
    more = len(names) - _MAX_LISTED
    shown = ", ".join(printable(name) for name in names[:_MAX_LISTED])
    return shown + (f" and {more} more" if more > 0 else "")


def _split_folders(root: Path, to_evaluate: bool) -> dict[str, Path]:
    """Returns the folder of each split; `root` as "train" or "test" if its folders are classes."""
    candidates: dict[str, list[Path]] = {}
    others = []
    names = {folder: os.path.basename(folder).lower() for folder in _subfolders(root)}
    exact = {_SPLIT_OF.get(name) for name in names.values()}
    for folder, name in names.items():
        split = split_of(name)
        if split is not None and (name in _SPLIT_OF or split not in exact):
            candidates.setdefault(split, []).append(_unwrapped(folder, split))
        elif next(_images_below(folder), None):
            others.append(folder)
    structured = {
        split: [folder for folder in folders if _holds_classes(folder)]
        for split, folders in candidates.items()
    }
    structured = {split: folders for split, folders in structured.items() if folders}
    main = structured.get("train") or (to_evaluate and next(iter(structured.values()), []))
    if main and not (others and _is_class(main[0])):
        return {split: _only(folders) for split, folders in structured.items()}
    if others or not candidates:
        return {"test" if to_evaluate else "train": root}
    if structured:
        name = next(iter(structured.values()))[0].name
        raise InputError(f"{root} has a folder {name!r} but no folder 'train' with classes in it.")
    names = ", ".join(sorted(folder.name for folders in candidates.values() for folder in folders))
    raise InputError(
        f"{root} has the folders {names} without class folders in them, so no image has a label: "
        f"expected {'test' if to_evaluate else 'train'}/CLASS/*.jpg."
    )


def _unwrapped(folder: str, split: str) -> Path:
    """Returns the folder of a split in a folder of the same split that has nothing else."""
    inner = _subfolders(folder)
    if len(inner) == 1 and split_of(os.path.basename(inner[0])) == split and _holds_classes(*inner):
        return Path(inner[0])
    return Path(folder)


def _only(folders: list[Path]) -> Path:
    if len(folders) > 1:
        names = " and ".join(repr(folder.name) for folder in folders)
        raise InputError(f"{folders[0].parent} has both {names} for one split: keep one.")
    return folders[0]


def _is_class(folder: Path) -> bool:
    """Returns whether most images below a folder are in it and not in folders of classes."""
    own = sum(_is_image(path) for path in _entries(folder) if not os.path.isdir(path))
    return own > 0 and 2 * own >= sum(1 for _ in _images_below(folder))


def _holds_classes(folder: Path) -> bool:
    return any(next(_images_below(path), None) for path in _subfolders(folder))


def _files_by_class(folder: Path, files: FolderFiles) -> dict[str, list[str]]:
    """Returns the sorted images of each class; those in folders inside of it belong to it."""
    by_class = {}
    for path in _entries(folder):
        name = os.path.basename(path)
        if not os.path.isdir(path):
            reason = "images without a class, in no class folder" if _is_image(path) else "files"
            files.add_unused(_reason(name) or reason, path)
        elif reason := _reason(name):
            _add_all(path, reason, files)
        elif by_class.setdefault(composed(name), []):
            raise InputError(f"{folder} has two class folders named {composed(name)!r}.")
        else:
            by_class[composed(name)] = _class_files(path, files)
    return by_class


def _class_files(folder: str, files: FolderFiles) -> list[str]:
    images = []
    for path in files_below(folder):
        suffix = os.path.splitext(path)[1].lower()
        if reason := _reason(os.path.relpath(path, folder)):
            files.add_unused(reason, path)
        elif suffix in SUFFIXES:
            images.append(path)
        elif suffix in _OTHER_IMAGES:
            files.undecodable.append(path)
        else:
            files.add_unused("files that are no images", path)
    return sorted(images)


def _check_order_of_levels(files: FolderFiles) -> None:
    """Refuses CLASS/train/*.jpg: its splits would be mixed."""
    for folder in files.folders.values():
        inner = [
            {split_of(os.path.basename(path)) for path in _subfolders(class_folder)}
            for class_folder in _subfolders(folder)
        ]
        if inner and all(len(splits - {None}) >= 2 for splits in inner):
            raise InputError(
                f"The class folders of {folder} have folders for splits in them: expected "
                "train/CLASS/*.jpg, not CLASS/train/*.jpg."
            )


def _reason(relative: str) -> str | None:
    """Returns why a file or folder is never used; None if it may be."""
    parts = relative.lower().split(os.sep)
    if any(part in _SYSTEM_FOLDERS for part in parts):
        return "files that an archive program or a file server left"
    if any(part.startswith(".") for part in parts):
        return "hidden files"
    return None


def _add_all(path: str, reason: str, files: FolderFiles) -> None:
    for file in files_below(path) if os.path.isdir(path) else [path]:
        own = _reason(os.path.relpath(file, os.path.dirname(path)))
        files.add_unused(own or reason, file)


def _is_image(path: str) -> bool:
    return path.lower().endswith((*SUFFIXES, *_OTHER_IMAGES))


def _entries(folder: str | Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.path for entry in entries)


def _subfolders(folder: str | Path) -> list[str]:
    """Returns the folders in a folder that can be a class or a split."""
    return [
        path
        for path in _entries(folder)
        if os.path.isdir(path) and not _reason(os.path.basename(path))
    ]


def files_below(folder: str) -> Iterator[str]:
    """Yields all files below a folder; a link to a folder above is not followed."""
    seen = set()
    for path, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(path)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (os.path.join(path, name) for name in sorted(names))


def _images_below(folder: str) -> Iterator[str]:
    for path in files_below(folder):
        if _is_image(path) and not _reason(os.path.relpath(path, folder)):
            yield path
