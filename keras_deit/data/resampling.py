"""Resizing as Pillow does it, antialiased, out of OpenCV's fast parts.

Pillow widens its kernel with the scale when it shrinks an image. OpenCV's bicubic and bilinear do
not, and alias; its area average does not, but it is slow and another kernel. Here a short low-pass
filter goes in front of OpenCV's interpolation, such that the two together come closest to
Pillow's kernel. `tests/data/test_crop_parity.py` holds the differences.
"""

import functools
import math

import cv2
import numpy as np

from keras_deit.core.errors import unknown_name

INTERPOLATIONS = {"bicubic": cv2.INTER_CUBIC, "bilinear": cv2.INTER_LINEAR}

MAX_SCALE = 3
SCALE_STEPS = 32  # The filters are made for scales in steps of 1 / SCALE_STEPS.

# How alike neighboring pixels of photographs are.
_CORRELATION = 0.95
_PHASES = 16


def resize(
    image: np.ndarray, height: int, width: int, interpolation: str = "bicubic"
) -> np.ndarray:
    """Resizes to (height, width), not keeping the aspect ratio.

    A side that shrinks by more than `MAX_SCALE` is first brought to `MAX_SCALE` times its new
    length by averaging areas.

    Args:
        image: uint8, (any height, any width, 3).
        height, width: of the result.
        interpolation: "bicubic" or "bilinear", in Pillow's sense.

    Returns:
        uint8, (height, width, 3); `image` itself where it has the size already.

    Raises:
        InputError: unknown interpolation.
    """
    check_interpolation(interpolation)
    reduced = min(image.shape[0], MAX_SCALE * height), min(image.shape[1], MAX_SCALE * width)
    if reduced != image.shape[:2]:
        image = cv2.resize(image, reduced[::-1], interpolation=cv2.INTER_AREA)
    if image.shape[:2] == (height, width):
        return image
    down = lowpass(interpolation, image.shape[0] / height)
    across = lowpass(interpolation, image.shape[1] / width)
    if len(down) > 1 or len(across) > 1:
        image = cv2.sepFilter2D(image, -1, across, down, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(image, (width, height), interpolation=INTERPOLATIONS[interpolation])


def check_interpolation(name: str) -> None:
    """Raises an `InputError` for a name that is not of an interpolation."""
    if name not in INTERPOLATIONS:
        raise unknown_name("interpolation", name, INTERPOLATIONS)


def lowpass(interpolation: str, scale: float) -> np.ndarray:
    """The filter in front of OpenCV's interpolation, for one axis.

    Args:
        interpolation: "bicubic" or "bilinear".
        scale: pixels of the source per pixel of the result, at most `MAX_SCALE`; below 1 where
            the axis is enlarged.

    Returns:
        float32, symmetric, of odd length, with the sum 1; of length 1 where nothing is to be
        filtered. Multiples of 1/256, so that every platform has the same.
    """
    if scale == 1 or (scale < 1 and interpolation == "bilinear"):
        return _IDENTITY
    return _fitted(interpolation, round(max(scale, 1) * SCALE_STEPS))


_IDENTITY = np.ones(1, np.float32)


@functools.cache
def _fitted(interpolation: str, steps: int) -> np.ndarray:
    """The least-squares fit of the two kernels' effect on an image with `_CORRELATION`.

    The unknowns are the filter's outer coefficients; the middle one makes the sum 1.
    """
    own, wanted = _KERNELS[interpolation]
    scale = steps / SCALE_STEPS
    radius = math.ceil(1.25 * scale) if scale > 1 else 1
    pixels = np.arange(-radius - 2 * MAX_SCALE, radius + 2 * MAX_SCALE + 1)
    correlation = _CORRELATION ** np.abs(pixels[:, None] - pixels)
    root = np.linalg.cholesky(correlation).T
    effects, gaps = [], []
    for phase in (np.arange(_PHASES) + 0.5) / _PHASES:
        distances = pixels - phase
        target = wanted(distances / scale)
        middle = own(distances)
        pairs = [own(distances - tap) + own(distances + tap) for tap in range(1, radius + 1)]
        effects.append(root @ (np.stack(pairs, 1) - 2 * middle[:, None]))
        gaps.append(root @ (target / target.sum() - middle))
    outer = np.linalg.lstsq(np.concatenate(effects), np.concatenate(gaps), rcond=None)[0]
    outer = np.round(256 * outer)
    taps = [*outer[::-1], 256 - 2 * outer.sum(), *outer]
    return np.asarray(taps, np.float32) / 256


def cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """The weight of a pixel at a distance (Keys 1981, "Cubic convolution interpolation for digital
    image processing", equation 15's family)."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def triangle(distance: np.ndarray) -> np.ndarray:
    """The weight of a pixel at a distance in linear interpolation."""
    return np.maximum(0, 1 - np.abs(distance))


# OpenCV's kernel and Pillow's.
_KERNELS = {
    "bicubic": (functools.partial(cubic, a=-0.75), functools.partial(cubic, a=-0.5)),
    "bilinear": (triangle, triangle),
}
