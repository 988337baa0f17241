"""Antialiased resizing as in Pillow, made of OpenCV's fast operations.

When Pillow shrinks an image, it widens its kernel in proportion to the scale. OpenCV's bicubic and
bilinear interpolation do not, so they alias; its area average does not alias, but it is slow and
has another kernel. Here a short low-pass filter is applied before OpenCV's interpolation, such that
the two together approximate Pillow's kernel as closely as possible. The differences are measured in
`tests/data/test_crop_parity.py`.
"""

import functools
import math

import cv2
import numpy as np

from keras_deit.core.errors import unknown_name

INTERPOLATIONS = {"bicubic": cv2.INTER_CUBIC, "bilinear": cv2.INTER_LINEAR}

MAX_SCALE = 3
SCALE_STEPS = 32  # The filters are computed for scales in steps of 1 / SCALE_STEPS.

# The correlation of neighboring pixels in photographs.
_CORRELATION = 0.95
_PHASES = 16


def resize(
    image: np.ndarray, height: int, width: int, interpolation: str = "bicubic"
) -> np.ndarray:
    """Resizes an image without keeping its aspect ratio.

    A side that shrinks by a factor above `MAX_SCALE` is first reduced to `MAX_SCALE` times its new
    length by averaging areas.

    Args:
        image: uint8 (any height, any width, 3).
        height, width: the size of the result in pixels.
        interpolation: "bicubic" or "bilinear", antialiased as in Pillow.

    Returns:
        uint8 (height, width, 3); `image` itself if it already has this size.

    Raises:
        InputError: the interpolation is unknown.
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
    """Checks the name of an interpolation.

    Raises:
        InputError: it is unknown.
    """
    if name not in INTERPOLATIONS:
        raise unknown_name("interpolation", name, INTERPOLATIONS)


def lowpass(interpolation: str, scale: float) -> np.ndarray:
    """Returns the filter to apply before OpenCV's interpolation along one axis.

    Args:
        interpolation: "bicubic" or "bilinear".
        scale: pixels of the source per pixel of the result, at most `MAX_SCALE`; below 1 if the
            axis is enlarged.

    Returns:
        float32 coefficients, symmetric, of odd length, with the sum 1; of length 1 if there is
        nothing to filter. They are multiples of 1/256, so they are the same on every platform.
    """
    if scale == 1 or (scale < 1 and interpolation == "bilinear"):
        return _IDENTITY
    return _fit_lowpass(interpolation, round(max(scale, 1) * SCALE_STEPS))


_IDENTITY = np.ones(1, np.float32)


@functools.cache
def _fit_lowpass(interpolation: str, steps: int) -> np.ndarray:
    """Returns the filter with which OpenCV's kernel approximates Pillow's.

    It is the least-squares fit of the effect on an image whose pixels have `_CORRELATION`. The
    unknowns are the filter's outer coefficients; the middle coefficient makes the sum 1.
    """
    opencv_kernel, pillow_kernel = _KERNELS[interpolation]
    scale = steps / SCALE_STEPS
    radius = math.ceil(1.25 * scale) if scale > 1 else 1
    pixels = np.arange(-radius - 2 * MAX_SCALE, radius + 2 * MAX_SCALE + 1)
    correlation = _CORRELATION ** np.abs(pixels[:, None] - pixels)
    root = np.linalg.cholesky(correlation).T
    matrices, differences = [], []
    for phase in (np.arange(_PHASES) + 0.5) / _PHASES:
        distances = pixels - phase
        target = pillow_kernel(distances / scale)
        middle = opencv_kernel(distances)
        pairs = [
            opencv_kernel(distances - tap) + opencv_kernel(distances + tap)
            for tap in range(1, radius + 1)
        ]
        matrices.append(root @ (np.stack(pairs, 1) - 2 * middle[:, None]))
        differences.append(root @ (target / target.sum() - middle))
    outer = np.linalg.lstsq(np.concatenate(matrices), np.concatenate(differences), rcond=None)[0]
    outer = np.round(256 * outer)
    taps = [*outer[::-1], 256 - 2 * outer.sum(), *outer]
    return np.asarray(taps, np.float32) / 256


def cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Returns the weight of a pixel at a distance in cubic interpolation with coefficient a.

    It is the family of equation 15 in Keys 1981, "Cubic convolution interpolation for digital image
    processing".
    """
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def triangle(distance: np.ndarray) -> np.ndarray:
    """Returns the weight of a pixel at a distance in linear interpolation."""
    return np.maximum(0, 1 - np.abs(distance))


# OpenCV's kernel and Pillow's.
_KERNELS = {
    "bicubic": (functools.partial(cubic, a=-0.75), functools.partial(cubic, a=-0.5)),
    "bilinear": (triangle, triangle),
}
