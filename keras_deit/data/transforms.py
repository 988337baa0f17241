"""Functions of one image: uint8 NumPy arrays of shape (height, width, 3) in and out.

Random ones take the `np.random.Generator` to draw from; none changes its input.
"""

import math

import cv2
import numpy as np

from keras_deit.errors import InputError, unknown_name
from keras_deit.models.image_format import ImageFormat

INTERPOLATIONS = {"bicubic": cv2.INTER_CUBIC, "bilinear": cv2.INTER_LINEAR}
_BORDERS = {"zero": cv2.BORDER_CONSTANT, "reflect": cv2.BORDER_REFLECT_101}
_CROP_ATTEMPTS = 10


def resize(
    image: np.ndarray, height: int, width: int, interpolation: str = "bicubic"
) -> np.ndarray:
    """Resizes to (height, width), not keeping the aspect ratio.

    Shrinking averages areas (`INTER_AREA`): OpenCV's bicubic and bilinear sample the image
    without a low-pass filter and alias, where Pillow's widen their kernel. Area averaging is
    the antialiased method OpenCV has. Enlarging uses `interpolation`. An image that shrinks along
    one axis and grows along the other is shrunk first.
    """
    method = _look_up("interpolation", interpolation, INTERPOLATIONS)
    shrunk = (min(height, image.shape[0]), min(width, image.shape[1]))
    if shrunk != image.shape[:2]:
        image = cv2.resize(image, shrunk[::-1], interpolation=cv2.INTER_AREA)
    if shrunk != (height, width):
        image = cv2.resize(image, (width, height), interpolation=method)
    return image


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
    border = _look_up("padding mode", mode, _BORDERS)
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(image, padding, padding, padding, padding, border)
    top = rng.integers(2 * padding + 1)
    left = rng.integers(2 * padding + 1)
    return padded[top : top + height, left : left + width]


def random_resized_crop(
    image: np.ndarray,
    height: int,
    width: int,
    rng: np.random.Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    interpolation: str = "bicubic",
) -> np.ndarray:
    """Cuts a box of random area and aspect ratio out and resizes it to (height, width).

    The boxes are distributed as those of torchvision's `RandomResizedCrop`, which DeiT uses
    (after Szegedy et al. 2015, "Going deeper with convolutions", section 6).

    Args:
        image: uint8, (height, width, 3).
        height, width: of the result.
        rng: the source of the box.
        scale: bounds of the box's share of the image's area, drawn uniformly.
        ratio: bounds of the box's width / height, drawn uniformly in the logarithm. They are
            for the box, whatever the shape of the result.
        interpolation: "bicubic" or "bilinear", used where the box is enlarged.
    """
    top, left, box_height, box_width = crop_box(image.shape[0], image.shape[1], rng, scale, ratio)
    box = image[top : top + box_height, left : left + box_width]
    return resize(box, height, width, interpolation)


def crop_box(
    height: int,
    width: int,
    rng: np.random.Generator,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int, int, int]:
    """The (top, left, height, width) of a random resized crop of a (height, width) image.

    After ten boxes that do not fit, the largest centred box within the bounds of `ratio`.
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
    """The evaluation view: resizes with the aspect ratio kept, then cuts the centre out.

    For a square result of side S the shorter side becomes int(S / crop_ratio), the other one its
    share, truncated; the offsets of the crop are rounded half to even. This is what torchvision's
    `Resize` and `CenterCrop` do in DeiT's evaluation. For another shape the image is resized to
    just cover (int(height / crop_ratio), int(width / crop_ratio)).

    Args:
        image: uint8, (height, width, 3).
        height, width: of the result.
        crop_ratio: in (0, 1], the share of the resized side that is kept.
        interpolation: "bicubic" or "bilinear", used where the image is enlarged.
    """
    cover_height, cover_width = int(height / crop_ratio), int(width / crop_ratio)
    if image.shape[0] * cover_width <= image.shape[1] * cover_height:
        cover_width = int(cover_height * image.shape[1] / image.shape[0])
    else:
        cover_height = int(cover_width * image.shape[0] / image.shape[1])
    image = resize(image, cover_height, cover_width, interpolation)
    top = round((cover_height - height) / 2)
    left = round((cover_width - width) / 2)
    return image[top : top + height, left : left + width]


def normalise(image: np.ndarray, image_format: ImageFormat) -> np.ndarray:
    """What the model is fed: `(image / 255 - mean) / std`, channels in the model's order.

    Args:
        image: uint8 RGB, (..., height, width, 3).
        image_format: of the model.

    Returns:
        float32 of the same shape.
    """
    std = np.asarray(image_format.std)
    scale = 1 / (255 * std)
    shift = -np.asarray(image_format.mean) / std
    if image_format.channels == "BGR":
        image, scale, shift = image[..., ::-1], scale[::-1], shift[::-1]
    # One long row per image row: NumPy is four times slower on rows of three numbers.
    rows = image.reshape(*image.shape[:-2], -1)
    width = image.shape[-2]
    result = rows * np.tile(scale, width).astype(np.float32)
    result += np.tile(shift, width).astype(np.float32)
    return result.reshape(image.shape)


def _look_up(kind: str, name: str, known: dict[str, int]) -> int:
    if name not in known:
        raise unknown_name(kind, name, known)
    return known[name]


def check_evaluation_view(crop_ratio: float, interpolation: str) -> None:
    """Raises an `InputError` for what `center_crop_resize` cannot take."""
    _look_up("interpolation", interpolation, INTERPOLATIONS)
    if not 0 < crop_ratio <= 1:
        raise InputError(f"The crop ratio should be above 0 and at most 1. Received: {crop_ratio}.")
