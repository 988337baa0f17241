"""The operations of CViT's augmentation: uint8 RGB NumPy arrays (height, width, 3) in and out.

They follow Albumentations 0.5 and imgaug 0.4, whose results are OpenCV's, including where these
round and where they truncate. None of them changes its input.
"""

import cv2
import numpy as np

_VALUES = np.arange(256)
_TILES = (8, 8)


def quarter_turns(image: np.ndarray, count: int) -> np.ndarray:
    """Turns an image counterclockwise by quarters of a circle, into the image's own size."""
    turned = np.rot90(image, count)
    return _in_size_of(image, turned)


def transpose(image: np.ndarray) -> np.ndarray:
    """Mirrors an image at the diagonal from the top left, into the image's own size."""
    return _in_size_of(image, image.transpose(1, 0, 2))


def mirror_x(image: np.ndarray) -> np.ndarray:
    """Mirrors an image horizontally."""
    return cv2.flip(image, 1)


def mirror_y(image: np.ndarray) -> np.ndarray:
    """Mirrors an image vertically."""
    return cv2.flip(image, 0)


def gray_noise(image: np.ndarray, deviation: float, seed: int) -> np.ndarray:
    """Adds the same normal noise to the three channels, and rounds."""
    noise = np.random.default_rng(seed).normal(0, deviation, (*image.shape[:2], 1))
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def color_noise(image: np.ndarray, deviation: float, seed: int) -> np.ndarray:
    """Adds normal noise to each channel, and truncates."""
    noise = np.random.default_rng(seed).normal(0, deviation, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def shift_scale_rotate(
    image: np.ndarray, degrees: float, scale: float, right: float, down: float
) -> np.ndarray:
    """Rotates counterclockwise about the center, scales, and shifts by fractions of the sides.

    Pixels are interpolated linearly; what comes from outside is the reflected image.
    """
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale)
    matrix[:, 2] += (right * width, down * height)
    border = cv2.BORDER_REFLECT_101
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border)


def clahe(image: np.ndarray, clip_limit: float) -> np.ndarray:
    """Equalizes the histogram of the lightness in 8×8 tiles, with a limit to the contrast."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=_TILES).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def sharpen(image: np.ndarray, alpha: float, lightness: float) -> np.ndarray:
    """Blends an image with its sharpened form: `alpha` of it, of a kernel with 8 + `lightness`."""
    kernel = np.full((3, 3), -1.0)
    kernel[1, 1] = 8 + lightness
    return _blended(image, alpha, kernel)


def emboss(image: np.ndarray, alpha: float, strength: float) -> np.ndarray:
    """Blends an image with its embossed form: `alpha` of it."""
    s = strength
    return _blended(image, alpha, np.array([[-1 - s, -s, 0], [-s, 1, s], [0, s, 1 + s]]))


def brightness_contrast(image: np.ndarray, brightness: float, contrast: float) -> np.ndarray:
    """Multiplies by 1 + `contrast`, adds `brightness` of the full range, and truncates."""
    values = _VALUES.astype(np.float32) * (1 + contrast) + 255 * brightness
    return cv2.LUT(image, np.clip(values, 0, 255).astype(np.uint8))


def shift_hsv(image: np.ndarray, hue: float, saturation: float, value: float) -> np.ndarray:
    """Adds to hue (in units of 2°), saturation and value (in gray levels), and truncates."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    tables = [np.mod(_VALUES + hue, 180)]
    tables += [np.clip(_VALUES + shift, 0, 255) for shift in (saturation, value)]
    table = np.stack(tables, axis=-1).astype(np.uint8)[None]
    return cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2RGB)


def _blended(image: np.ndarray, alpha: float, kernel: np.ndarray) -> np.ndarray:
    identity = np.zeros((3, 3))
    identity[1, 1] = 1
    return cv2.filter2D(image, -1, ((1 - alpha) * identity + alpha * kernel).astype(np.float32))


def _in_size_of(image: np.ndarray, turned: np.ndarray) -> np.ndarray:
    if turned.shape == image.shape:
        return np.ascontiguousarray(turned)
    return cv2.resize(turned, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)


# By name; an operation takes the image and the values of a step.
STRONG_OPERATIONS = {
    "QuarterTurns": quarter_turns,
    "Transpose": transpose,
    "MirrorX": mirror_x,
    "MirrorY": mirror_y,
    "GrayNoise": gray_noise,
    "ColorNoise": color_noise,
    "ShiftScaleRotate": shift_scale_rotate,
    "CLAHE": clahe,
    "Sharpen": sharpen,
    "Emboss": emboss,
    "BrightnessContrast": brightness_contrast,
    "ShiftHSV": shift_hsv,
}
