"""Operations on gray levels and colors: uint8 NumPy arrays (height, width, 3) in and out.

They follow Pillow's `ImageOps`, `ImageEnhance` and `ImageFilter`, rounding included, which timm's
RandAugment is made of; most give the same bytes. None changes its input.
"""

import math

import cv2
import numpy as np

_LEVELS = np.arange(256)

# Pillow cuts the fraction of a blend off where OpenCV rounds.
_CUT_OFF = -0.498


def auto_contrast(image: np.ndarray) -> np.ndarray:
    """Stretches each channel to the whole range of 0 to 255."""
    tables = []
    for channel in cv2.split(image):
        low, high, _, _ = cv2.minMaxLoc(channel)
        if high <= low:
            tables.append(_LEVELS)
            continue
        scale = 255 / (high - low)
        tables.append(np.clip(_LEVELS * scale - low * scale, 0, 255).astype(int))
    return _look_up(image, tables)


def equalize(image: np.ndarray) -> np.ndarray:
    """Spreads the histogram of each channel evenly."""
    return _look_up(image, [_equalizing(image, channel) for channel in range(3)])


def _equalizing(image: np.ndarray, channel: int) -> np.ndarray:
    counts = cv2.calcHist([image], [channel], None, [256], [0, 256]).ravel().astype(int)
    step = (counts.sum() - counts[counts.nonzero()[0][-1]]) // 255
    if step == 0:
        return _LEVELS
    below = np.cumsum(counts) - counts
    return np.minimum((step // 2 + below) // step, 255)


def invert(image: np.ndarray) -> np.ndarray:
    """255 minus each level."""
    return cv2.bitwise_not(image)


def posterize(image: np.ndarray, bits: int) -> np.ndarray:
    """Keeps the `bits` highest bits of each level, 0 (a black image) to 8."""
    return _look_up(image, _LEVELS & (256 - 2 ** (8 - bits)))


def solarize(image: np.ndarray, threshold: int) -> np.ndarray:
    """Inverts the levels of `threshold` and above."""
    return _look_up(image, np.where(threshold > _LEVELS, _LEVELS, 255 - _LEVELS))


def solarize_add(image: np.ndarray, amount: int) -> np.ndarray:
    """Adds `amount` to the levels below 128, up to 255."""
    return _look_up(image, np.where(_LEVELS < 128, np.minimum(_LEVELS + amount, 255), _LEVELS))


def color(image: np.ndarray, factor: float) -> np.ndarray:
    """Saturation: 0 gives the gray image, 1 the image itself, more exaggerates."""
    return cv2.addWeighted(grayscale(image), 1 - factor, image, factor, _CUT_OFF)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Distance to the mean gray level: 0 gives plain gray, 1 the image itself."""
    mean = math.floor(cv2.mean(_luma(image))[0] + 0.5)
    return _look_up(image, _blended_levels(mean, factor))


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """0 gives black, 1 the image itself."""
    return _look_up(image, _blended_levels(0, factor))


def sharpness(image: np.ndarray, factor: float) -> np.ndarray:
    """0 gives the image smoothed by a 3x3 kernel, 1 the image itself, 2 a sharpened one."""
    smooth = cv2.filter2D(image, -1, _SMOOTH)
    # Pillow's filter leaves the border alone.
    smooth[[0, -1]] = image[[0, -1]]
    smooth[:, [0, -1]] = image[:, [0, -1]]
    return cv2.addWeighted(smooth, 1 - factor, image, factor, _CUT_OFF)


_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def grayscale(image: np.ndarray) -> np.ndarray:
    """ITU-R 601 luma in all three channels."""
    return cv2.cvtColor(_luma(image), cv2.COLOR_GRAY2RGB)


def gaussian_blur(image: np.ndarray, radius: float) -> np.ndarray:
    """Three box blurs that together have the standard deviation `radius`, in pixels."""
    kernel = _three_boxes(radius)
    return cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)


def _three_boxes(radius: float) -> np.ndarray:
    """The kernel of Pillow's `GaussianBlur`.

    A box that ends in fractions of pixels, three times over (Gwosdek et al. 2011, "Theoretical
    foundations of Gaussian convolution by extended box filtering").
    """
    variance = radius**2 / 3
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    rest = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    rest /= 6 * (variance - (whole + 1) ** 2)
    box = np.pad(np.ones(2 * whole + 1), 1, constant_values=rest) / (2 * whole + 1 + 2 * rest)
    return np.convolve(np.convolve(box, box), box).astype(np.float32)


def _luma(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _blended_levels(level: int, factor: float) -> np.ndarray:
    """What a blend of `level` and each of the 256 levels gives, in Pillow's single precision."""
    blended = np.float32(level) + np.float32(factor) * (_LEVELS - level).astype(np.float32)
    return np.clip(blended, 0, 255).astype(int)


def _look_up(image: np.ndarray, table) -> np.ndarray:
    """Replaces every level by its entry in a table, or in one table per channel."""
    table = np.asarray(table, np.uint8)
    return cv2.LUT(image, table if table.ndim == 1 else np.ascontiguousarray(table.T)[None])
