"""Crops, flips and normalization of one image: uint8 NumPy arrays (height, width, 3).

Random functions take an `np.random.Generator`. None of them changes its input.
"""

import functools
import math

import cv2
import numpy as np

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.image_format import ImageFormat
from keras_deit.data.resampling import check_interpolation, resize

_BORDERS = {"zero": cv2.BORDER_CONSTANT, "reflect": cv2.BORDER_REFLECT_101}
_CROP_ATTEMPTS = 10


def random_crop(
    image: np.ndarray, padding: int, rng: np.random.Generator, mode: str = "zero"
) -> np.ndarray:
    """Pads all four sides, then takes a crop of the original size at a uniformly random position.

    Args:
        image: uint8 (height, width, 3).
        padding: the padding of each side in pixels.
        rng: the random generator.
        mode: the padding: "zero" (DeiT's recipe for images of at most 32 pixels), or "reflect" for
            the reflected image without repeating its edge.

    Raises:
        InputError: the mode is unknown.
    """
    if mode not in _BORDERS:
        raise unknown_name("padding mode", mode, _BORDERS)
    return _padded_crop(image, *image.shape[:2], padding, _BORDERS[mode], rng)


def _padded_crop(
    image: np.ndarray, height: int, width: int, padding: int, border: int, rng: np.random.Generator
) -> np.ndarray:
    padded = cv2.copyMakeBorder(image, padding, padding, padding, padding, border)
    top = rng.integers(padded.shape[0] - height + 1)
    left = rng.integers(padded.shape[1] - width + 1)
    return padded[top : top + height, left : left + width]


def simple_random_crop(
    image: np.ndarray,
    height: int,
    width: int,
    padding: int,
    rng: np.random.Generator,
    interpolation: str = "bicubic",
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Resizes keeping the aspect ratio, pads by reflection and takes a random crop.

    This is DeiT III's "simple random crop" (Touvron et al. 2022, section 3). In the paper the crop
    moves along the longer side; in the authors' code, which this follows, along both sides.

    Args:
        image: uint8 (any height, any width, 3).
        height, width: the size of the result in pixels.
        padding: the padding of each side in pixels, 4 in DeiT III.
        rng: the random generator.
        interpolation: "bicubic" or "bilinear".
        size: (height, width) of the image at full size if it was decoded reduced; None for its
            present size.
    """
    image = resize(image, *_covering_size(size or image.shape[:2], height, width), interpolation)
    return _padded_crop(image, height, width, padding, cv2.BORDER_REFLECT_101, rng)


def crop_box(
    height: int,
    width: int,
    rng: np.random.Generator,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int, int, int]:
    """Draws the box (top, left, height, width) of a random resized crop.

    It has the distribution of torchvision's `RandomResizedCrop`, which DeiT uses (after Szegedy et
    al. 2015, "Going deeper with convolutions", section 6). If ten boxes do not fit into the image,
    it is the largest centered box whose aspect ratio is in the range `ratio`.

    Args:
        height, width: the size of the image in pixels.
        rng: the random generator.
        scale: range of the area of the box as a fraction of the image's area, drawn uniformly.
        ratio: range of the box's width / height, whose logarithm is drawn uniformly. It does not
            depend on the shape that the box is resized to.
    """
    log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
    for _ in range(_CROP_ATTEMPTS):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(*log_ratio))
        box_width = round(math.sqrt(area * aspect))
        box_height = round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = rng.integers(height - box_height + 1)
            left = rng.integers(width - box_width + 1)
            return int(top), int(left), box_height, box_width
    box_height, box_width = height, width
    if width / height < ratio[0]:
        box_height = round(width / ratio[0])
    elif width / height > ratio[1]:
        box_width = round(height * ratio[1])
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


def horizontal_flip(image: np.ndarray) -> np.ndarray:
    """Mirrors an image horizontally."""
    return cv2.flip(image, 1)


def center_crop_resize(
    image: np.ndarray, height: int, width: int, crop_ratio: float, interpolation: str = "bicubic"
) -> np.ndarray:
    """Returns the evaluation view: resizes keeping the aspect ratio, then takes the center crop.

    For a square result of side S, the shorter side is resized to int(S / crop_ratio), the longer
    side in proportion and truncated; the offsets of the crop are rounded half to even. This is what
    torchvision's `Resize` and `CenterCrop` do in DeiT's evaluation. For another shape the image is
    resized to the smallest size that covers (int(height / crop_ratio), int(width / crop_ratio)).

    Args:
        image: uint8 (any height, any width, 3).
        height, width: the size of the result in pixels.
        crop_ratio: the fraction of the resized side that the crop keeps, in (0, 1].
        interpolation: "bicubic" or "bilinear".
    """
    size = _covering_size(image.shape[:2], int(height / crop_ratio), int(width / crop_ratio))
    image = resize(image, *size, interpolation)
    top = round((size[0] - height) / 2)
    left = round((size[1] - width) / 2)
    return image[top : top + height, left : left + width]


def _covering_size(size: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Returns the smallest size with the aspect ratio of `size` that covers (height, width)."""
    rows, columns = size
    if rows * width <= columns * height:
        return height, int(height * columns / rows)
    return int(width * rows / columns), width


def normalize(
    image: np.ndarray, image_format: ImageFormat, out: np.ndarray | None = None
) -> np.ndarray:
    """Returns the model's input: `(image / 255 - mean) / std`, with channels in the model's order.

    Args:
        image: uint8 RGB (..., height, width, 3).
        image_format: the image format of the model.
        out: a float32 array of the same shape for the result; None for a new one.

    Returns:
        float32 of the same shape.
    """
    if image_format.channels == "BGR":
        image = image[..., ::-1]
    # One axis for width and channels: NumPy is four times slower if the last axis has length 3.
    rows = image.reshape(*image.shape[:-2], -1)
    scale, shift = _scale_and_shift(image_format, image.shape[-2])
    result = np.empty(rows.shape, np.float32) if out is None else out.reshape(rows.shape)
    np.multiply(rows, scale, out=result)
    result += shift
    return result.reshape(image.shape)


@functools.lru_cache(maxsize=16)
def _scale_and_shift(image_format: ImageFormat, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns factors and offsets for the values of a row of `width` pixels."""
    std = np.asarray(image_format.std)
    scale = 1 / (255 * std)
    shift = -np.asarray(image_format.mean) / std
    if image_format.channels == "BGR":
        scale, shift = scale[::-1], shift[::-1]
    return np.tile(scale, width).astype(np.float32), np.tile(shift, width).astype(np.float32)


def check_evaluation_view(crop_ratio: float, interpolation: str) -> None:
    """Checks the arguments of `center_crop_resize`.

    Raises:
        InputError: the crop ratio is out of range or the interpolation unknown.
    """
    check_interpolation(interpolation)
    if not 0 < crop_ratio <= 1:
        raise InputError(f"The crop ratio should be in (0, 1]. Received: {crop_ratio}.")
