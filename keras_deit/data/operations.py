"""The operations of augmentation policies by name, and their arguments by magnitude.

Arguments follow from magnitudes as in timm's `auto_augment.py`, which DeiT uses: increasing
variants become stronger with the magnitude; the others are AutoAugment's own scales, some of which
become weaker. Magnitudes are from 0 to 10 in timm, and can be larger in the code of RandAugment's
authors. The scales named "Ninths" are those of `auto_augment_policies` with magnitudes from 0 to 9.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_deit.data import geometric, photometric
from keras_deit.data.strong_operations import STRONG_OPERATIONS

MAX_MAGNITUDE = 10


class Step(NamedTuple):
    """One operation to apply.

    Attributes:
        operation: its name in `OPERATIONS` or `STRONG_OPERATIONS`.
        argument: its argument; None if it has none; (row, column, half_side) for "Cutout", see
            `geometric.cutout`; (linear, shift) for "Distort", see `geometric.distort`; a tuple of
            all values for an operation of `strong_operations`.
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
    "Hue": photometric.hue,
    "Grayscale": photometric.grayscale,
    "GaussianBlur": photometric.gaussian_blur,
}


def _of_nearest_pixels(function: Callable) -> Callable:
    """Returns a geometric operation that takes the nearest pixel, whatever the interpolation."""
    return lambda image, argument, _, fill: function(image, argument, "nearest", fill)


_GEOMETRIC = {
    "Rotate": geometric.rotate,
    "ShearX": geometric.shear_x,
    "ShearY": geometric.shear_y,
    "TranslateX": geometric.translate_x,
    "TranslateY": geometric.translate_y,
    "TranslateXPixels": geometric.shift_x,
    "TranslateYPixels": geometric.shift_y,
    "RotateNearest": _of_nearest_pixels(geometric.rotate),
    "TranslateXNearest": _of_nearest_pixels(geometric.translate_x),
    "TranslateYNearest": _of_nearest_pixels(geometric.translate_y),
}
OPERATIONS = (*_PHOTOMETRIC, *_GEOMETRIC, "Cutout", "Distort")


def apply(
    image: np.ndarray,
    steps: list[Step],
    interpolation: str = "bicubic",
    fill: geometric.Color = geometric.MEAN,
) -> np.ndarray:
    """Applies operations one after the other.

    Args:
        image: uint8 RGB (height, width, 3).
        steps: the operations.
        interpolation: "bicubic", "bilinear" or "nearest", for the geometric operations.
        fill: the color of the area that they leave empty, and of Cutout's square.
    """
    for name, argument in steps:
        if name in _GEOMETRIC:
            image = _GEOMETRIC[name](image, argument, interpolation, fill)
        elif name in STRONG_OPERATIONS:
            image = STRONG_OPERATIONS[name](image, *argument)
        elif name == "Cutout":
            image = geometric.cutout(image, *argument, fill)
        elif name == "Distort":
            image = geometric.distort(image, *argument, interpolation)
        elif argument is None:
            image = _PHOTOMETRIC[name](image)
        else:
            image = _PHOTOMETRIC[name](image, argument)
    return image


def scaled_step(name: str, magnitude: float, rng: np.random.Generator) -> Step:
    """Returns an operation with its argument at a magnitude.

    Args:
        name: a name in `SCALES`.
        magnitude: 0 or more.
        rng: the random generator for the sign of operations with two directions, and for the
            position of Cutout.
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


def _cutout_argument(level: float, rng: np.random.Generator) -> tuple[float, float, int]:
    return rng.random(), rng.random(), int(40 * level)


def _in_ninths(argument: Argument) -> Argument:
    """Returns an argument whose full scale is at a magnitude of 9."""
    return lambda level, rng: argument(level * MAX_MAGNITUDE / 9, rng)


# By name, the operation and the function from level, a tenth of the magnitude, to its argument. The
# names are timm's, or Google's if timm has none.
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
    "Cutout": ("Cutout", _cutout_argument),
    "RotateNinths": ("RotateNearest", _in_ninths(lambda level, rng: 30 * level)),
    "ShearXNinths": ("ShearX", _in_ninths(_signed(0.3))),
    "ShearYNinths": ("ShearY", _in_ninths(_signed(0.3))),
    "TranslateXNinths": ("TranslateXNearest", _in_ninths(_signed(150 / 331))),
    "TranslateYNinths": ("TranslateYNearest", _in_ninths(_signed(150 / 331))),
    "PosterizeNinths": ("Posterize", _in_ninths(lambda level, rng: round(8 - 4 * level))),
    "SolarizeNinths": ("Solarize", _in_ninths(lambda level, rng: 256 - 256 * level)),
    **{
        f"{name}Ninths": (name, _in_ninths(_increasing_factor))
        for name in ("Color", "Contrast", "Brightness", "Sharpness")
    },
}
