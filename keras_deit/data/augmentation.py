"""A recipe's augmentation as data."""

import dataclasses
import math

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.data.geometric import FILLS, check_geometric_interpolation
from keras_deit.data.policies import parse_policy
from keras_deit.data.resampling import check_interpolation

_CROPS = ("random_resized_crop", "simple_random_crop", "random_crop", "none")
_MIX_MODES = ("batch", "elem")


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How training images vary; `dataclasses.asdict` and the constructor round-trip through JSON.

    The steps, in their order: crop, flip, `auto_augment`, `color_jitter`, normalization, erasing,
    and then the mixing of the batch. The defaults are those of DeiT (Touvron et al. 2021, table 9)
    for crop, flip and mixing; all other steps are off.

    Attributes:
        crop: "random_resized_crop"; "simple_random_crop", DeiT III's, which resizes the shorter
            side to the model's size, pads by reflection and crops; "random_crop", which resizes
            to the model's size, pads with zeros and crops; or "none", which only resizes.
        crop_padding: of "random_crop" and "simple_random_crop", in pixels.
        crop_scale: of "random_resized_crop", bounds of the box's share of the area.
        crop_aspect: of "random_resized_crop", bounds of the box's width / height.
        flip_probability: of a horizontal flip; 0 where mirrored images mean something else, as
            with digits.
        auto_augment: "none", "3a", "original", "originalr", "v0", "v0r", or RandAugment in timm's
            notation: "rand-m9-mstd0.5-inc1" is DeiT's; "tfrand-m15-n2" is that of its authors'
            own code, AugReg's.
        color_jitter: s; brightness, contrast and saturation are multiplied by factors from 1 - s
            to 1 + s; 0 for off. Not applied with RandAugment or AutoAugment, as in timm.
        erase_probability: of random erasing.
        erase_area: bounds of an erased box's share of the area.
        erase_aspect: bounds of an erased box's height / width.
        erase_count: the largest number of boxes, which share the area.
        mixup_alpha, cutmix_alpha: of the Beta distribution of lambda; 0 for off.
        mix_probability: that a batch, or an image in mode "elem", is mixed at all.
        mix_switch_probability: of CutMix for a batch, where both are on.
        mix_mode: "batch", one lambda for a batch, or "elem", one for each image.
        label_smoothing: in [0, 1).
        repeated_augmentation: how often an image follows itself in the stream, each time augmented
            anew; an epoch then holds fewer images, as many times. 1 for off, 3 in DeiT.
        interpolation: "bicubic" or "bilinear", of the resizing.
        geometric_interpolation: "bicubic", "bilinear" or "nearest", of rotating, shearing and
            translating.
        geometric_fill: the color of what these leave empty and Cutout covers: "mean", ImageNet's
            mean color, timm's, or "gray", 128 in all channels, AugReg's.
    """

    crop: str = "random_resized_crop"
    crop_padding: int = 4
    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip_probability: float = 0.5
    auto_augment: str = "none"
    color_jitter: float = 0.0
    erase_probability: float = 0.0
    erase_area: tuple[float, float] = (0.02, 1 / 3)
    erase_aspect: tuple[float, float] = (0.3, 1 / 0.3)
    erase_count: int = 1
    mixup_alpha: float = 0.8
    cutmix_alpha: float = 1.0
    mix_probability: float = 1.0
    mix_switch_probability: float = 0.5
    mix_mode: str = "batch"
    label_smoothing: float = 0.1
    repeated_augmentation: int = 1
    interpolation: str = "bicubic"
    geometric_interpolation: str = "bicubic"
    geometric_fill: str = "mean"

    def __post_init__(self):
        choices = (("crop", _CROPS), ("mix_mode", _MIX_MODES), ("geometric_fill", FILLS))
        for field, known in choices:
            if getattr(self, field) not in known:
                raise unknown_name(field, getattr(self, field), known)
        parse_policy(self.auto_augment)
        check_interpolation(self.interpolation)
        check_geometric_interpolation(self.geometric_interpolation)
        for field in ("crop_scale", "crop_aspect", "erase_area", "erase_aspect"):
            # JSON gives lists back; a frozen dataclass is compared and hashed by its tuples.
            bounds = tuple(getattr(self, field))
            object.__setattr__(self, field, bounds)
            self._require(field, len(bounds) == 2 and 0 < bounds[0] <= bounds[1] < math.inf)
        for field in ("crop_scale", "erase_area"):
            self._require(field, getattr(self, field)[1] <= 1)
        for field, least in (
            ("crop_padding", 0),
            ("erase_count", 1),
            ("repeated_augmentation", 1),
        ):
            value = getattr(self, field)
            self._require(field, isinstance(value, int) and value >= least)
        for field in ("mixup_alpha", "cutmix_alpha", "color_jitter"):
            self._require(field, 0 <= getattr(self, field) < math.inf)
        for field in (
            *("flip_probability", "erase_probability"),
            *("mix_probability", "mix_switch_probability"),
        ):
            self._require(field, 0 <= getattr(self, field) <= 1)
        self._require("label_smoothing", 0 <= self.label_smoothing < 1)

    def _require(self, field: str, condition: bool) -> None:
        if not condition:
            raise InputError(
                f"Augmentation: `{field}` should be {_EXPECTED[field]}. "
                f"Received: {getattr(self, field)}."
            )


_SHARES = "two shares of the area, low <= high, within (0, 1]"
_PROBABILITY = "in [0, 1]"
_EXPECTED = {
    "crop_padding": "a whole number of pixels, 0 or more",
    "crop_scale": _SHARES,
    "crop_aspect": "two ratios width / height above 0, low <= high",
    "flip_probability": _PROBABILITY,
    "color_jitter": "0 (off) or more",
    "erase_probability": _PROBABILITY,
    "erase_area": _SHARES,
    "erase_aspect": "two ratios height / width above 0, low <= high",
    "erase_count": "a whole number, 1 or more",
    "mixup_alpha": "0 (off) or more",
    "cutmix_alpha": "0 (off) or more",
    "mix_probability": _PROBABILITY,
    "mix_switch_probability": _PROBABILITY,
    "label_smoothing": "at least 0 and below 1",
    "repeated_augmentation": "a whole number of copies, 1 (off) or more",
}
