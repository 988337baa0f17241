"""A recipe's augmentation as data, and what it does to one image."""

import dataclasses
import math

import numpy as np

from keras_deit.data import transforms
from keras_deit.errors import InputError, unknown_name
from keras_deit.models.image_format import ImageFormat

_CROPS = ("random_resized_crop", "random_crop", "none")


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How training images vary; `dataclasses.asdict` and the constructor round-trip through JSON.

    The defaults are DeiT's (Touvron et al. 2021, table 9), as far as they are here.

    Attributes:
        crop: "random_resized_crop"; "random_crop", which resizes to the model's size, pads with
            zeros and crops; or "none", which only resizes.
        crop_padding: of "random_crop", in pixels.
        crop_scale: of "random_resized_crop", bounds of the box's share of the area.
        crop_aspect: of "random_resized_crop", bounds of the box's width / height.
        flip_probability: of a horizontal flip; 0 where mirrored images mean something else, as
            with digits.
        mixup_alpha, cutmix_alpha: of the Beta distribution of lambda; 0 for off.
        mix_switch_probability: of CutMix for a batch, where both are on.
        label_smoothing: in [0, 1).
        interpolation: "bicubic" or "bilinear", for enlarging.
    """

    crop: str = "random_resized_crop"
    crop_padding: int = 4
    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip_probability: float = 0.5
    mixup_alpha: float = 0.8
    cutmix_alpha: float = 1.0
    mix_switch_probability: float = 0.5
    label_smoothing: float = 0.1
    interpolation: str = "bicubic"

    def __post_init__(self):
        if self.crop not in _CROPS:
            raise unknown_name("crop", self.crop, _CROPS)
        if self.interpolation not in transforms.INTERPOLATIONS:
            raise unknown_name("interpolation", self.interpolation, transforms.INTERPOLATIONS)
        for field in ("crop_scale", "crop_aspect"):
            # JSON gives lists back; a frozen dataclass is compared and hashed by its tuples.
            bounds = tuple(getattr(self, field))
            object.__setattr__(self, field, bounds)
            self._require(field, len(bounds) == 2 and 0 < bounds[0] <= bounds[1] < math.inf)
        self._require("crop_scale", self.crop_scale[1] <= 1)
        padding = self.crop_padding
        self._require("crop_padding", isinstance(padding, int) and padding >= 0)
        for field in ("mixup_alpha", "cutmix_alpha"):
            self._require(field, 0 <= getattr(self, field) < math.inf)
        for field in ("flip_probability", "mix_switch_probability"):
            self._require(field, 0 <= getattr(self, field) <= 1)
        self._require("label_smoothing", 0 <= self.label_smoothing < 1)

    def _require(self, field: str, condition: bool) -> None:
        if not condition:
            raise InputError(f"Augmentation: {_EXPECTED[field]}. Received: {getattr(self, field)}.")


_EXPECTED = {
    "crop_padding": "`crop_padding` should be a whole number of pixels, 0 or more",
    "crop_scale": "`crop_scale` should be two shares of the area, low <= high, within (0, 1]",
    "crop_aspect": "`crop_aspect` should be two ratios width / height above 0, low <= high",
    "flip_probability": "`flip_probability` should be in [0, 1]",
    "mixup_alpha": "`mixup_alpha` should be 0 (off) or more",
    "cutmix_alpha": "`cutmix_alpha` should be 0 (off) or more",
    "mix_switch_probability": "`mix_switch_probability` should be in [0, 1]",
    "label_smoothing": "`label_smoothing` should be at least 0 and below 1",
}


def augment_image(
    image: np.ndarray,
    image_format: ImageFormat,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> np.ndarray:
    """One random training view of an image: crop, then flip.

    Args:
        image: uint8 RGB, (any height, any width, 3).
        image_format: gives the size of the result.
        augmentation: what to do.
        rng: the source of everything random.

    Returns:
        uint8 RGB, (height, width, 3).
    """
    height, width = image_format.height, image_format.width
    interpolation = augmentation.interpolation
    if augmentation.crop == "random_resized_crop":
        image = transforms.random_resized_crop(
            image,
            height,
            width,
            rng,
            augmentation.crop_scale,
            augmentation.crop_aspect,
            interpolation,
        )
    else:
        image = transforms.resize(image, height, width, interpolation)
        if augmentation.crop == "random_crop":
            image = transforms.random_crop(image, augmentation.crop_padding, rng)
    if rng.random() < augmentation.flip_probability:
        image = transforms.horizontal_flip(image)
    return image
