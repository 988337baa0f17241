"""Affine maps of one image: uint8 NumPy arrays (height, width, 3) in and out.

They follow Pillow's `Image.transform` and `Image.rotate`, which timm's RandAugment uses: the
result has the size of the image, and what comes from outside of it has the colour `FILL`.
Pillow's bicubic has the coefficient a = -1 here, OpenCV's -0.75.
"""

import math

import cv2
import numpy as np

from keras_deit.data.resampling import INTERPOLATIONS

FILL = (124, 116, 104)  # ImageNet's mean colour.


def rotate(image: np.ndarray, degrees: float, interpolation: str = "bicubic") -> np.ndarray:
    """Rotates about the centre, counter-clockwise."""
    height, width = image.shape[:2]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = width / 2, height / 2
    matrix = (
        *(cosine, -sine, x - cosine * x + sine * y),
        *(sine, cosine, y - sine * x - cosine * y),
    )
    return affine(image, matrix, interpolation)


def shear_x(image: np.ndarray, factor: float, interpolation: str = "bicubic") -> np.ndarray:
    """Moves each row by `factor` pixels per pixel from the top."""
    return affine(image, (1, factor, 0, 0, 1, 0), interpolation)


def shear_y(image: np.ndarray, factor: float, interpolation: str = "bicubic") -> np.ndarray:
    """Moves each column by `factor` pixels per pixel from the left."""
    return affine(image, (1, 0, 0, factor, 1, 0), interpolation)


def translate_x(image: np.ndarray, share: float, interpolation: str = "bicubic") -> np.ndarray:
    """Moves to the left by a share of the width."""
    return affine(image, (1, 0, share * image.shape[1], 0, 1, 0), interpolation)


def translate_y(image: np.ndarray, share: float, interpolation: str = "bicubic") -> np.ndarray:
    """Moves up by a share of the height."""
    return affine(image, (1, 0, 0, 0, 1, share * image.shape[0]), interpolation)


def affine(
    image: np.ndarray, matrix: tuple[float, ...], interpolation: str = "bicubic"
) -> np.ndarray:
    """The image whose point (x, y) shows the point (ax + by + c, dx + ey + f) of `image`.

    Args:
        image: uint8, (height, width, 3).
        matrix: (a, b, c, d, e, f), in pixels; (0, 0) is the top left corner of the image, so that
            the centre of the first pixel is (0.5, 0.5).
        interpolation: "bicubic" or "bilinear".
    """
    matrix = np.reshape(np.asarray(matrix, np.float64), (2, 3))
    # OpenCV's (0, 0) is the centre of the first pixel.
    matrix[:, 2] += matrix @ (0.5, 0.5, 0) - 0.5
    return cv2.warpAffine(
        image,
        matrix,
        image.shape[1::-1],
        flags=INTERPOLATIONS[interpolation] | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=FILL,
    )
