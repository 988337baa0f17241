"""Twenty real photographs from scikit-image's wheel, for benchmarks and tests."""

import functools
import pathlib

import numpy as np
import skimage
from PIL import Image

_FILES = (
    *("astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "clock_motion.png"),
    *("coffee.png", "coins.png", "grass.png", "gravel.png", "ihc.png", "moon.png"),
    *("motorcycle_left.png", "motorcycle_right.png", "rocket.jpg", "text.png"),
)
# Large ones, each of which is cut into two halves.
_LARGE = ("hubble_deep_field.jpg", "retina.jpg")


@functools.cache
def photographs() -> dict[str, np.ndarray]:
    """Returns the photographs by name: uint8 RGB, from 172 x 448 to 1411 x 705 pixels."""
    folder = pathlib.Path(skimage.__file__).parent / "data"
    images = {name.split(".")[0]: _read(folder / name) for name in _FILES}
    for name in _LARGE:
        image = _read(folder / name)
        middle = image.shape[1] // 2
        images[f"{name} left"], images[f"{name} right"] = image[:, :middle], image[:, middle:]
    return {name: np.ascontiguousarray(image) for name, image in images.items()}


@functools.cache
def views(side: int = 224) -> dict[str, np.ndarray]:
    """Returns the centers of the photographs by name: uint8 RGB, (side, side, 3)."""
    result = {}
    for name, image in photographs().items():
        shorter = min(image.shape[:2])
        top, left = (image.shape[0] - shorter) // 2, (image.shape[1] - shorter) // 2
        square = Image.fromarray(image).crop((left, top, left + shorter, top + shorter))
        result[name] = np.asarray(square.resize((side, side), Image.Resampling.BICUBIC))
    return result


def _read(path: pathlib.Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))
