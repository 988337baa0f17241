"""Affine transformations of one image: uint8 NumPy arrays (height, width, 3) in and out.

They follow Pillow's `Image.transform` and `Image.rotate`, which timm's RandAugment uses: the
result has the size of the image, and pixels from outside of the image have the RGB color `fill`.
Pillow's bicubic kernel has the coefficient a = -1 here, that of OpenCV's warp a = -0.75.

`interpolation` is "bicubic", "bilinear" or "nearest".
"""

import math

import cv2
import numpy as np

from keras_deit.core.errors import unknown_name
from keras_deit.data.resampling import INTERPOLATIONS, cubic, triangle

Color = tuple[int, int, int]
MEAN = (124, 116, 104)  # ImageNet's mean color.
FILLS = {"mean": MEAN, "gray": (128, 128, 128)}

_FLAGS = {**INTERPOLATIONS, "nearest": cv2.INTER_NEAREST}


def check_geometric_interpolation(name: str) -> None:
    """Checks the name of an interpolation.

    Raises:
        InputError: it is unknown.
    """
    if name not in _FLAGS:
        raise unknown_name("geometric interpolation", name, _FLAGS)


def rotate(
    image: np.ndarray, degrees: float, interpolation: str = "bicubic", fill: Color = MEAN
) -> np.ndarray:
    """Rotates an image counterclockwise about its center."""
    height, width = image.shape[:2]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = width / 2, height / 2
    matrix = (
        *(cosine, -sine, x - cosine * x + sine * y),
        *(sine, cosine, y - sine * x - cosine * y),
    )
    return affine(image, matrix, interpolation, fill)


def distort(
    image: np.ndarray,
    linear: tuple[float, float, float, float],
    shift: tuple[float, float],
    interpolation: str = "bicubic",
) -> np.ndarray:
    """Applies a linear map about the center and a shift, with the nearest pixel outside.

    Args:
        image: uint8 (height, width, 3).
        linear: (a, b, d, e): from a point of the result to that of `image`, from the center.
        shift: of the point in `image`, as fractions of its width and height.
        interpolation: "bicubic", "bilinear" or "nearest".
    """
    height, width = image.shape[:2]
    a, b, d, e = linear
    x, y = width / 2, height / 2
    c, f = x - a * x - b * y + shift[0] * width, y - d * x - e * y + shift[1] * height
    return affine(image, (a, b, c, d, e, f), interpolation, fill=None)


def shear_x(
    image: np.ndarray, factor: float, interpolation: str = "bicubic", fill: Color = MEAN
) -> np.ndarray:
    """Moves each row to the left by `factor` pixels per pixel of its distance from the top."""
    return affine(image, (1, factor, 0, 0, 1, 0), interpolation, fill)


def shear_y(
    image: np.ndarray, factor: float, interpolation: str = "bicubic", fill: Color = MEAN
) -> np.ndarray:
    """Moves each column up by `factor` pixels per pixel of its distance from the left."""
    return affine(image, (1, 0, 0, factor, 1, 0), interpolation, fill)


def translate_x(
    image: np.ndarray, fraction: float, interpolation: str = "bicubic", fill: Color = MEAN
) -> np.ndarray:
    """Moves an image to the left by a fraction of its width."""
    return shift_x(image, fraction * image.shape[1], interpolation, fill)


def translate_y(
    image: np.ndarray, fraction: float, interpolation: str = "bicubic", fill: Color = MEAN
) -> np.ndarray:
    """Moves an image up by a fraction of its height."""
    return shift_y(image, fraction * image.shape[0], interpolation, fill)


def shift_x(
    image: np.ndarray, pixels: float, interpolation: str = "bicubic", fill: Color = MEAN
) -> np.ndarray:
    """Moves an image to the left by a number of pixels."""
    return _shift(image, 1, pixels, interpolation, fill)


def shift_y(
    image: np.ndarray, pixels: float, interpolation: str = "bicubic", fill: Color = MEAN
) -> np.ndarray:
    """Moves an image up by a number of pixels."""
    return _shift(image, 0, pixels, interpolation, fill)


def _shift(
    image: np.ndarray, axis: int, pixels: float, interpolation: str, fill: Color
) -> np.ndarray:
    whole, size = round(pixels), image.shape[axis]
    if abs(whole) >= size:
        return np.full_like(image, fill)
    if interpolation != "nearest":
        taps = _taps(pixels - whole, interpolation)
        image = _filter(image, np.expand_dims(taps, 1 - axis))
    kept = slice(max(whole, 0), size + min(whole, 0))
    before, after = max(-whole, 0), max(whole, 0)
    if axis == 0:
        return _pad(image[kept], fill, top=before, bottom=after)
    return _pad(image[:, kept], fill, left=before, right=after)


def cutout(
    image: np.ndarray, row: float, column: float, half_side: int, fill: Color = MEAN
) -> np.ndarray:
    """Covers a square, clipped to the image, with a color.

    This is Cutout (DeVries & Taylor 2017, "Improved regularization of convolutional neural networks
    with Cutout").

    Args:
        image: uint8 (height, width, 3).
        row, column: the center of the square, as fractions of height and width in [0, 1).
        half_side: half the side of the square in pixels.
        fill: the color.
    """
    row, column = int(row * image.shape[0]), int(column * image.shape[1])
    image = image.copy()
    rows = slice(max(row - half_side, 0), row + half_side)
    image[rows, max(column - half_side, 0) : column + half_side] = fill
    return image


def _taps(offset: float, interpolation: str) -> np.ndarray:
    """Returns the weights of five pixels for a point `offset` pixels from the middle one.

    They are the same for all pixels of a translation, so it can be a filter and a shift by whole
    pixels, which take a tenth of the time of `affine`.
    """
    distances = np.arange(-2, 3) - offset
    weights = triangle(distances) if interpolation == "bilinear" else cubic(distances, a=-1)
    return weights.astype(np.float32)


def _filter(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    # Pillow truncates the result, OpenCV rounds it.
    return cv2.filter2D(image, -1, kernel, delta=-0.498, borderType=cv2.BORDER_REPLICATE)


def _pad(image: np.ndarray, fill: Color, top=0, bottom=0, left=0, right=0) -> np.ndarray:
    border = cv2.BORDER_CONSTANT
    return cv2.copyMakeBorder(image, top, bottom, left, right, border, value=fill)


def affine(
    image: np.ndarray,
    matrix: tuple[float, ...],
    interpolation: str = "bicubic",
    fill: Color | None = MEAN,
) -> np.ndarray:
    """Returns the image whose point (x, y) is the point (ax + by + c, dx + ey + f) of `image`.

    Args:
        image: uint8 (height, width, 3).
        matrix: (a, b, c, d, e, f) in pixels; (0, 0) is the top left corner of the image, so the
            center of the first pixel is (0.5, 0.5).
        interpolation: "bicubic", "bilinear" or "nearest".
        fill: the color of pixels from outside of the image; None for that of the nearest pixel.
    """
    matrix = np.reshape(np.asarray(matrix, np.float64), (2, 3))
    # In OpenCV, (0, 0) is the center of the first pixel.
    matrix[:, 2] += matrix @ (0.5, 0.5, 0) - 0.5
    return cv2.warpAffine(
        image,
        matrix,
        image.shape[1::-1],
        flags=_FLAGS[interpolation] | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE if fill is None else cv2.BORDER_CONSTANT,
        borderValue=fill or 0,
    )
