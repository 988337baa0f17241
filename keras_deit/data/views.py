"""What an `Augmentation` does to one image, from its file to the pixels before normalization."""

import functools
from collections.abc import Iterable

import numpy as np

from keras_deit.core.image_format import ImageFormat
from keras_deit.data import transforms
from keras_deit.data.augmentation import Augmentation
from keras_deit.data.geometric import FILLS
from keras_deit.data.images import REDUCTIONS, DecodedImage, EncodedImage
from keras_deit.data.operations import Step, apply
from keras_deit.data.policies import NoPolicy, ThreeAugment, color_jitter, parse_policy

# A crop is still shrunk by at least this factor after a reduced decoding: what the JPEG decoder's
# scaling does to it is then half a gray level on average.
_MIN_SCALE_LEFT = 2

_policy = functools.lru_cache(maxsize=16)(parse_policy)


def augment_image(
    image: np.ndarray | DecodedImage,
    image_format: ImageFormat,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> np.ndarray:
    """One random training view of an image: crop, flip, policy, color jitter.

    Args:
        image: uint8 RGB, (any height, any width, 3).
        image_format: gives the size of the result.
        augmentation: what to do.
        rng: the source of everything random.

    Returns:
        uint8 RGB, (height, width, 3).
    """
    if not isinstance(image, DecodedImage):
        image = DecodedImage(image, image.shape[:2])
    # The crop is drawn first: `decode_for_crops` counts on it.
    view = _crop(image, image_format, augmentation, rng)
    if rng.random() < augmentation.flip_probability:
        view = transforms.horizontal_flip(view)
    fill = FILLS[augmentation.geometric_fill]
    steps = draw_steps(augmentation, rng)
    return apply(view, steps, augmentation.geometric_interpolation, fill)


def draw_steps(augmentation: Augmentation, rng: np.random.Generator) -> list[Step]:
    """What policy and color jitter do to one image."""
    policy = _policy(augmentation.auto_augment)
    steps = policy.draw(rng)
    if isinstance(policy, NoPolicy | ThreeAugment):
        steps += color_jitter(augmentation.color_jitter, rng)
    return steps


def decode_for_crops(
    image: np.ndarray | EncodedImage,
    image_format: ImageFormat,
    augmentation: Augmentation,
    rngs: Iterable[np.random.Generator],
) -> DecodedImage:
    """Decodes an image as far reduced as all of the crops to be taken from it allow.

    Args:
        image: encoded, or pixels, which are left as they are.
        image_format: gives the size of the crops after their resizing.
        augmentation: what will be done.
        rngs: generators, in the state that `augment_image` will get them in, one for each crop.
            One is done with before the next is taken.
    """
    if not isinstance(image, EncodedImage):
        return DecodedImage(image, image.shape[:2])
    crops = []
    if image.size is not None and _allows(image.size, min(REDUCTIONS), image_format):
        crops = [_crop_size(image.size, augmentation, rng) for rng in rngs]
    for reduction in REDUCTIONS:
        if crops and all(_allows(crop, reduction, image_format) for crop in crops):
            return DecodedImage(image.decode(reduction), image.size, reduction)
    pixels = image.decode()
    return DecodedImage(pixels, pixels.shape[:2])


def _allows(size: tuple[int, int], reduction: int, image_format: ImageFormat) -> bool:
    least = _MIN_SCALE_LEFT * reduction
    return size[0] >= least * image_format.height and size[1] >= least * image_format.width


def _crop(image, image_format, augmentation, rng) -> np.ndarray:
    sides, interpolation = _sides(image_format), augmentation.interpolation
    if augmentation.crop == "random_resized_crop":
        box = _crop_box(image.size, augmentation, rng)
        return transforms.resize(image.region(*box), *sides, interpolation)
    if augmentation.crop == "simple_random_crop":
        padding = augmentation.crop_padding
        return transforms.simple_random_crop(
            image.pixels, *sides, padding, rng, interpolation, image.size
        )
    view = transforms.resize(image.pixels, *sides, interpolation)
    if augmentation.crop == "random_crop":
        view = transforms.random_crop(view, augmentation.crop_padding, rng)
    return view


def _crop_size(size, augmentation, rng) -> tuple[int, int]:
    if augmentation.crop == "random_resized_crop":
        return _crop_box(size, augmentation, rng)[2:]
    return size


def _crop_box(size, augmentation, rng) -> tuple[int, int, int, int]:
    return transforms.crop_box(*size, rng, augmentation.crop_scale, augmentation.crop_aspect)


def _sides(image_format: ImageFormat) -> tuple[int, int]:
    return image_format.height, image_format.width
