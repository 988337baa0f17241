"""Operations on pixel values and colors: uint8 RGB NumPy arrays (height, width, 3) in and out.

They follow Pillow's `ImageOps`, `ImageEnhance` and `ImageFilter`, which timm's RandAugment uses,
including their rounding; most return the same bytes. None of them changes its input.
"""

import math

import cv2
import numpy as np

_VALUES = np.arange(256)

# Added to a sum that OpenCV rounds, so that it is truncated as in Pillow.
_TRUNCATE = -0.498


def auto_contrast(image: np.ndarray) -> np.ndarray:
    """Stretches each channel linearly to the full range from 0 to 255."""
    tables = []
    for channel in cv2.split(image):
        low, high, _, _ = cv2.minMaxLoc(channel)
        if high <= low:
            tables.append(_VALUES)
            continue
        scale = 255 / (high - low)
        tables.append(np.clip(_VALUES * scale - low * scale, 0, 255).astype(int))
    return _apply_table(image, tables)


def equalize(image: np.ndarray) -> np.ndarray:
    """Equalizes the histogram of each channel."""
    return _apply_table(image, [_equalization_table(image, channel) for channel in range(3)])


def _equalization_table(image: np.ndarray, channel: int) -> np.ndarray:
    counts = cv2.calcHist([image], [channel], None, [256], [0, 256]).ravel().astype(int)
    step = (counts.sum() - counts[counts.nonzero()[0][-1]]) // 255
    if step == 0:
        return _VALUES
    below = np.cumsum(counts) - counts
    return np.minimum((step // 2 + below) // step, 255)


def invert(image: np.ndarray) -> np.ndarray:
    """Returns 255 minus each value."""
    return cv2.bitwise_not(image)


def posterize(image: np.ndarray, bits: int) -> np.ndarray:
    """Keeps the `bits` highest bits of each value, from 0 (a black image) to 8."""
    return _apply_table(image, _VALUES & (256 - 2 ** (8 - bits)))


def solarize(image: np.ndarray, threshold: int) -> np.ndarray:
    """Inverts the values of at least `threshold`."""
    return _apply_table(image, np.where(threshold > _VALUES, _VALUES, 255 - _VALUES))


def solarize_add(image: np.ndarray, amount: int) -> np.ndarray:
    """Adds `amount` to the values below 128, with a maximum of 255."""
    return _apply_table(image, np.where(_VALUES < 128, np.minimum(_VALUES + amount, 255), _VALUES))


def color(image: np.ndarray, factor: float) -> np.ndarray:
    """Changes the saturation: 0 returns the grayscale image, 1 the image itself."""
    return cv2.addWeighted(grayscale(image), 1 - factor, image, factor, _TRUNCATE)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Changes the contrast: 0 returns the mean gray everywhere, 1 the image itself."""
    mean = math.floor(cv2.mean(_luma(image))[0] + 0.5)
    return _apply_table(image, _blend_table(mean, factor))


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Changes the brightness: 0 returns a black image, 1 the image itself."""
    return _apply_table(image, _blend_table(0, factor))


def hue(image: np.ndarray, shift: float) -> np.ndarray:
    """Turns the hue by a fraction of the color circle, in [-0.5, 0.5], as torchvision does."""
    values = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    values[..., 0] += np.uint8(int(shift * 255) % 256)
    return cv2.cvtColor(values, cv2.COLOR_HSV2RGB_FULL)


def sharpness(image: np.ndarray, factor: float) -> np.ndarray:
    """Changes the sharpness: 0 returns the image smoothed by a 3x3 kernel, 1 the image itself."""
    smooth = cv2.filter2D(image, -1, _SMOOTH)
    # Pillow's filter does not change the border.
    smooth[[0, -1]] = image[[0, -1]]
    smooth[:, [0, -1]] = image[:, [0, -1]]
    return cv2.addWeighted(smooth, 1 - factor, image, factor, _TRUNCATE)


_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def grayscale(image: np.ndarray) -> np.ndarray:
    """Returns the ITU-R 601 luma in all three channels."""
    return cv2.cvtColor(_luma(image), cv2.COLOR_GRAY2RGB)


def gaussian_blur(image: np.ndarray, radius: float) -> np.ndarray:
    """Applies three box blurs that together have the standard deviation `radius` in pixels."""
    kernel = _blur_kernel(radius)
    return cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)


def _blur_kernel(radius: float) -> np.ndarray:
    """Returns the kernel of Pillow's `GaussianBlur`.

    It is a box whose ends are fractions of a pixel, convolved three times (Gwosdek et al. 2011,
    "Theoretical foundations of Gaussian convolution by extended box filtering").
    """
    variance = radius**2 / 3
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    rest = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    rest /= 6 * (variance - (whole + 1) ** 2)
    box = np.pad(np.ones(2 * whole + 1), 1, constant_values=rest) / (2 * whole + 1 + 2 * rest)
    return np.convolve(np.convolve(box, box), box).astype(np.float32)


def _luma(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _blend_table(value: int, factor: float) -> np.ndarray:
    """Returns the blend of a value and each of the 256 values, in single precision as Pillow."""
    blended = np.float32(value) + np.float32(factor) * (_VALUES - value).astype(np.float32)
    return np.clip(blended, 0, 255).astype(int)


def _apply_table(image: np.ndarray, table) -> np.ndarray:
    """Replaces every value by its entry in a table, or in one table per channel."""
    table = np.asarray(table, np.uint8)
    return cv2.LUT(image, table if table.ndim == 1 else np.ascontiguousarray(table.T)[None])
