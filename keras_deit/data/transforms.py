"""Functions of one image: uint8 NumPy arrays of shape (height, width, 3) in and out.

Random ones take the `np.random.Generator` to draw from; none changes its input.
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
    """Pads all four sides, then cuts the original size out at a uniformly random place.

    Args:
        image: uint8, (height, width, 3).
        padding: in pixels.
        rng: the source of the two offsets.
        mode: what the padding holds: "zero" (DeiT's recipe for images of at most 32 pixels) or
            "reflect", the image mirrored without repeating its edge.
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
    """Resizes with the aspect ratio kept, pads by reflection and cuts (height, width) out anywhere.

    DeiT III's "simple random crop" (Touvron et al. 2022, section 3). The paper moves the crop
    along the longer side; the authors' code, which this follows, moves it along both.

    Args:
        image: uint8, (any height, any width, 3).
        height, width: of the result.
        padding: in pixels, 4 in DeiT III.
        rng: the source of the two offsets.
        interpolation: "bicubic" or "bilinear".
        size: (height, width) that `image` had before a reduced decoding; None for its own.
    """
    image = resize(image, *_covering(size or image.shape[:2], height, width), interpolation)
    return _padded_crop(image, height, width, padding, cv2.BORDER_REFLECT_101, rng)


def crop_box(
    height: int,
    width: int,
    rng: np.random.Generator,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int, int, int]:
    """The (top, left, height, width) of a random resized crop.

    The boxes are distributed as those of torchvision's `RandomResizedCrop`, which DeiT uses
    (after Szegedy et al. 2015, "Going deeper with convolutions", section 6). After ten boxes that
    do not fit it is the largest centered box within the bounds of `ratio`.

    Args:
        height, width: of the image.
        rng: the source of the box.
        scale: bounds of the box's share of the image's area, drawn uniformly.
        ratio: bounds of the box's width / height, drawn uniformly in the logarithm. They are
            for the box, whatever the shape that it is resized to.
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
    """Mirrors left and right."""
    return cv2.flip(image, 1)


def center_crop_resize(
    image: np.ndarray, height: int, width: int, crop_ratio: float, interpolation: str = "bicubic"
) -> np.ndarray:
    """The evaluation view: resizes with the aspect ratio kept, then cuts the center out.

    For a square result of side S the shorter side becomes int(S / crop_ratio), the other one its
    share, truncated; the offsets of the crop are rounded half to even. This is what torchvision's
    `Resize` and `CenterCrop` do in DeiT's evaluation. For another shape the image is resized to
    just cover (int(height / crop_ratio), int(width / crop_ratio)).

    Args:
        image: uint8, (height, width, 3).
        height, width: of the result.
        crop_ratio: in (0, 1], the share of the resized side that is kept.
        interpolation: "bicubic" or "bilinear".
    """
    size = _covering(image.shape[:2], int(height / crop_ratio), int(width / crop_ratio))
    image = resize(image, *size, interpolation)
    top = round((size[0] - height) / 2)
    left = round((size[1] - width) / 2)
    return image[top : top + height, left : left + width]


def _covering(size: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """The smallest size with the aspect ratio of `size`, truncated, that covers (height, width)."""
    rows, columns = size
    if rows * width <= columns * height:
        return height, int(height * columns / rows)
    return int(width * rows / columns), width


def normalize(
    image: np.ndarray, image_format: ImageFormat, out: np.ndarray | None = None
) -> np.ndarray:
    """What the model is fed: `(image / 255 - mean) / std`, channels in the model's order.

    Args:
        image: uint8 RGB, (..., height, width, 3).
        image_format: of the model.
        out: where the result goes, float32 of the same shape; None for a new array.

    Returns:
        float32 of the same shape.
    """
    if image_format.channels == "BGR":
        image = image[..., ::-1]
    # One long row per image row: NumPy is four times slower on rows of three numbers.
    rows = image.reshape(*image.shape[:-2], -1)
    scale, shift = _scale_and_shift(image_format, image.shape[-2])
    result = np.empty(rows.shape, np.float32) if out is None else out.reshape(rows.shape)
    np.multiply(rows, scale, out=result)
    result += shift
    return result.reshape(image.shape)


@functools.lru_cache(maxsize=16)
def _scale_and_shift(image_format: ImageFormat, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the numbers in a row of `width` pixels."""
    std = np.asarray(image_format.std)
    scale = 1 / (255 * std)
    shift = -np.asarray(image_format.mean) / std
    if image_format.channels == "BGR":
        scale, shift = scale[::-1], shift[::-1]
    return np.tile(scale, width).astype(np.float32), np.tile(shift, width).astype(np.float32)


def check_evaluation_view(crop_ratio: float, interpolation: str) -> None:
    """Raises an `InputError` for what `center_crop_resize` cannot take."""
    check_interpolation(interpolation)
    if not 0 < crop_ratio <= 1:
        raise InputError(f"The crop ratio should be above 0 and at most 1. Received: {crop_ratio}.")
