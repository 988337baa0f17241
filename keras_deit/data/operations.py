"""The operations that augmentation policies are made of, by name, and how strong they are.

Magnitudes become arguments as in timm's `auto_augment.py`, on which DeiT's training rests:
increasing variants grow stronger with the magnitude, the others are AutoAugment's own scales, of
which some grow weaker. timm's magnitudes run from 0 to 10, those of RandAugment's own code beyond.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_deit.data import geometric, photometric

MAX_MAGNITUDE = 10


class Step(NamedTuple):
    """One operation to apply: its name in `OPERATIONS` and its argument, None where it has none.

    "Cutout" has three, those of `geometric.cut_out`.
    """

    operation: str
    argument: float | int | tuple | None = None


_PHOTOMETRIC = {
    "AutoContrast": photometric.auto_contrast,
    "Equalize": photometric.equalize,
    "Invert": photometric.invert,
    "Posterize": photometric.posterize,
    "Solarize": photometric.solarize,
    "SolarizeAdd": photometric.solarize_add,
    "Color": photometric.color,
    "Contrast": photometric.contrast,
    "Brightness": photometric.brightness,
    "Sharpness": photometric.sharpness,
    "Grayscale": photometric.grayscale,
    "GaussianBlur": photometric.gaussian_blur,
}
_GEOMETRIC = {
    "Rotate": geometric.rotate,
    "ShearX": geometric.shear_x,
    "ShearY": geometric.shear_y,
    "TranslateX": geometric.translate_x,
    "TranslateY": geometric.translate_y,
    "TranslateXPixels": geometric.shift_x,
    "TranslateYPixels": geometric.shift_y,
}
OPERATIONS = (*_PHOTOMETRIC, *_GEOMETRIC, "Cutout")


def apply(
    image: np.ndarray,
    steps: list[Step],
    interpolation: str = "bicubic",
    fill: geometric.Color = geometric.MEAN,
) -> np.ndarray:
    """Applies operations one after the other.

    Args:
        image: uint8 RGB, (height, width, 3).
        steps: what to apply.
        interpolation: of the geometric operations, "bicubic", "bilinear" or "nearest".
        fill: the color of what they leave empty, and of Cutout's square.
    """
    for name, argument in steps:
        if name in _GEOMETRIC:
            image = _GEOMETRIC[name](image, argument, interpolation, fill)
        elif name == "Cutout":
            image = geometric.cut_out(image, *argument, fill)
        elif argument is None:
            image = _PHOTOMETRIC[name](image)
        else:
            image = _PHOTOMETRIC[name](image, argument)
    return image


def scaled_step(name: str, magnitude: float, rng: np.random.Generator) -> Step:
    """The step of an entry of `SCALES` at a magnitude.

    Args:
        name: in `SCALES`.
        magnitude: 0 or more.
        rng: the source of the sign, where the operation has two directions, and of places.
    """
    operation, argument = SCALES[name]
    return Step(operation, argument and argument(magnitude / MAX_MAGNITUDE, rng))


Argument = Callable[[float, np.random.Generator], float | int | tuple]


def _signed(largest: float) -> Argument:
    return lambda level, rng: level * largest * _sign(rng)


def _sign(rng: np.random.Generator) -> int:
    return -1 if rng.random() < 0.5 else 1


def _factor(level: float, rng: np.random.Generator) -> float:
    return 0.1 + 1.8 * level


def _increasing_factor(level: float, rng: np.random.Generator) -> float:
    return 1 + 0.9 * level * _sign(rng)


def _square(level: float, rng: np.random.Generator) -> tuple[float, float, int]:
    return rng.random(), rng.random(), int(40 * level)


# Operation and argument at a level, a tenth of the magnitude; by timm's names, and Google's where
# timm has none.
SCALES: dict[str, tuple[str, Argument | None]] = {
    "AutoContrast": ("AutoContrast", None),
    "Equalize": ("Equalize", None),
    "Invert": ("Invert", None),
    "Rotate": ("Rotate", _signed(30)),
    "Posterize": ("Posterize", lambda level, rng: min(int(4 * level), 8)),
    "PosterizeIncreasing": ("Posterize", lambda level, rng: 4 - int(4 * level)),
    "PosterizeOriginal": ("Posterize", lambda level, rng: 4 + int(4 * level)),
    "Solarize": ("Solarize", lambda level, rng: int(256 * level)),
    "SolarizeIncreasing": ("Solarize", lambda level, rng: 256 - int(256 * level)),
    "SolarizeAdd": ("SolarizeAdd", lambda level, rng: int(110 * level)),
    **{name: (name, _factor) for name in ("Color", "Contrast", "Brightness", "Sharpness")},
    **{
        f"{name}Increasing": (name, _increasing_factor)
        for name in ("Color", "Contrast", "Brightness", "Sharpness")
    },
    "ShearX": ("ShearX", _signed(0.3)),
    "ShearY": ("ShearY", _signed(0.3)),
    "TranslateX": ("TranslateX", _signed(0.45)),
    "TranslateY": ("TranslateY", _signed(0.45)),
    "TranslateXPixels": ("TranslateXPixels", _signed(100)),
    "TranslateYPixels": ("TranslateYPixels", _signed(100)),
    "Cutout": ("Cutout", _square),
}
