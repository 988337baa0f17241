"""Augmentation of one image, from its file to the pixels before normalization."""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from keras_deit.core.image_format import ImageFormat
from keras_deit.data import transforms
from keras_deit.data.augmentation import Augmentation
from keras_deit.data.geometric import FILLS
from keras_deit.data.images import REDUCTIONS, DecodedImage, EncodedImage
from keras_deit.data.operations import Step, apply
from keras_deit.data.policies import Affine, NoPolicy, ThreeAugment, color_jitter, parse_policy

# After a reduced decoding a crop has still at least so many times the sides of the model's images.
# The scaling by the JPEG decoder then changes the result by half a gray level on average.
_MIN_REMAINING_SCALE = 2

_policy = functools.lru_cache(maxsize=16)(parse_policy)


@dataclasses.dataclass(frozen=True)
class View:
    """One of the views of an image in a batch of a training.

    Attributes:
        augmentation: crop, flip, policy, color jitter and random erasing of the view.
        size: side in pixels; None for the size of the model's images.
    """

    augmentation: Augmentation
    size: int | None = None

    def image_format(self, model_format: ImageFormat) -> ImageFormat:
        """Returns the format of the view, whose normalization is that of the model's images."""
        if self.size is None:
            return model_format
        return dataclasses.replace(model_format, height=self.size, width=self.size)


def augment_image(
    image: np.ndarray | DecodedImage,
    image_format: ImageFormat,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> np.ndarray:
    """Returns a random training view of an image: crop, flip, policy, color jitter.

    Args:
        image: uint8 RGB (any height, any width, 3).
        image_format: the image format of the model, which has the size of the result.
        augmentation: the augmentation.
        rng: the random generator.

    Returns:
        uint8 RGB (height, width, 3).
    """
    if not isinstance(image, DecodedImage):
        image = DecodedImage(image, image.shape[:2])
    # The crop has to be drawn first, because `decode_for_crops` draws it as well.
    view = _crop(image, image_format, augmentation, rng)
    if rng.random() < augmentation.flip_probability:
        view = transforms.horizontal_flip(view)
    fill = FILLS[augmentation.geometric_fill]
    steps = draw_steps(augmentation, rng)
    return apply(view, steps, augmentation.geometric_interpolation, fill)


def draw_steps(augmentation: Augmentation, rng: np.random.Generator) -> list[Step]:
    """Draws the operations of policy and color jitter for one image."""
    policy = _policy(augmentation.auto_augment)
    steps = policy.draw(rng)
    if isinstance(policy, Affine | NoPolicy | ThreeAugment):
        steps += color_jitter(augmentation.color_jitter, rng)
    return steps


def decode_for_crops(
    image: np.ndarray | EncodedImage,
    image_format: ImageFormat,
    views: Augmentation | Sequence[View],
    rngs: Iterable[np.random.Generator],
) -> DecodedImage:
    """Decodes an image at the lowest resolution that is enough for its crops.

    Args:
        image: an encoded image, or pixels, which are returned unchanged.
        image_format: the image format of the model, which has the size of the resized crops.
        views: the views, which take turns; an augmentation for one of the model's size.
        rngs: a random generator for each crop, in the state in which `augment_image` gets it. Each
            is used before the next one is taken.
    """
    if not isinstance(image, EncodedImage):
        return DecodedImage(image, image.shape[:2])
    views = [View(views)] if isinstance(views, Augmentation) else views
    formats = [view.image_format(image_format) for view in views]
    crops = []
    if image.size is not None and any(_is_enough(image.size, min(REDUCTIONS), f) for f in formats):
        in_turns = itertools.cycle(zip(views, formats, strict=True))
        crops = [
            (_crop_size(image.size, view.augmentation, rng), view_format)
            for rng, (view, view_format) in zip(rngs, in_turns, strict=False)
        ]
    for reduction in REDUCTIONS:
        if crops and all(_is_enough(size, reduction, view_format) for size, view_format in crops):
            pixels = image.decode(reduction)
            if pixels.shape[:2] == tuple(-(-side // reduction) for side in image.size):
                return DecodedImage(pixels, image.size, reduction)
            break  # The decoder has read another orientation in the EXIF data.
    pixels = image.decode()
    return DecodedImage(pixels, pixels.shape[:2])


def _is_enough(size: tuple[int, int], reduction: int, image_format: ImageFormat) -> bool:
    """Returns whether a crop of this size can be decoded reduced."""
    least = _MIN_REMAINING_SCALE * reduction
    return size[0] >= least * image_format.height and size[1] >= least * image_format.width


def _crop(image, image_format, augmentation, rng) -> np.ndarray:
    target, interpolation = _size(image_format), augmentation.interpolation
    if augmentation.crop == "random_resized_crop":
        box = _crop_box(image.size, augmentation, rng)
        return transforms.resize(image.region(*box), *target, interpolation)
    if augmentation.crop == "simple_random_crop":
        padding = augmentation.crop_padding
        return transforms.simple_random_crop(
            image.pixels, *target, padding, rng, interpolation, image.size
        )
    view = transforms.resize(image.pixels, *target, interpolation)
    if augmentation.crop == "random_crop":
        view = transforms.random_crop(view, augmentation.crop_padding, rng)
    return view


def _crop_size(size, augmentation, rng) -> tuple[int, int]:
    if augmentation.crop == "random_resized_crop":
        return _crop_box(size, augmentation, rng)[2:]
    return size


def _crop_box(size, augmentation, rng) -> tuple[int, int, int, int]:
    return transforms.crop_box(*size, rng, augmentation.crop_scale, augmentation.crop_aspect)


def _size(image_format: ImageFormat) -> tuple[int, int]:
    return image_format.height, image_format.width
