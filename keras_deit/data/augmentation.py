"""The settings of the augmentation: a part of every recipe."""

import dataclasses
import math

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.data.erasing import ERASE_MODES
from keras_deit.data.geometric import FILLS, check_geometric_interpolation
from keras_deit.data.policies import parse_policy
from keras_deit.data.resampling import check_interpolation

_CROPS = ("random_resized_crop", "simple_random_crop", "random_crop", "none")
_MIX_MODES = ("batch", "elem")
_MIX_PARTNERS = ("reversed", "previous")
# Values of `geometric_fill` in version 0.1.0.dev0, which old configurations can hold.
_OLD_FILLS = {"grey": "gray"}


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Describes how training images are augmented and mixed.

    The steps are applied in this order: crop, flip, `auto_augment`, `color_jitter`, normalization,
    random erasing, and then the mixing of the batch. The defaults for crop, flip and mixing are
    those of DeiT (Touvron et al. 2021, table 9); all other steps are off. The result of
    `dataclasses.asdict` can be stored as JSON and given to the constructor again.

    Attributes:
        crop: crop of the training images: "random_resized_crop"; "simple_random_crop" of DeiT III,
            which resizes the shorter side to the model's size, pads by reflection and crops;
            "random_crop", which resizes to the model's size, pads with zeros and crops; or "none",
            which only resizes.
        crop_padding: padding in pixels on each side of the image before "random_crop" and
            "simple_random_crop".
        crop_scale: range of the area of a "random_resized_crop", as fractions of the image's area.
        crop_aspect: range of the aspect ratio, width / height, of a "random_resized_crop".
        flip_probability: probability of a horizontal flip; 0 for data whose mirror images have
            another meaning, such as digits.
        auto_augment: augmentation policy: "none"; "3a" for 3-Augment; "strong" for that
            of CViT, with flips among much else; "original", "originalr", "v0"
            or "v0r" for AutoAugment as in timm, or "cifar10", "svhn" or "imagenet" for that of this
            data set in the usual code for small images; or RandAugment in timm's notation, such as
            "rand-m9-mstd0.5-inc1" in DeiT, or in the version of its authors' TensorFlow code, such
            as "tfrand-m15-n2" in AugReg; or "byol-b0.5-s0.2" for that of BYOL and DINO, with the
            probabilities of blur and solarization; or "affine-m5" for rotation, scaling, shear and
            translation alone.
        color_jitter: strength of color jitter: brightness, contrast and saturation are multiplied
            by random factors from 1 - strength to 1 + strength; 0 for none. As in timm, it is not
            applied together with RandAugment or AutoAugment.
        erase_probability: probability of random erasing of an image.
        erase_mode: what random erasing puts into a box: "pixel" for noise, as in timm; or "mean"
            for the means of the normalization, as in the code of its authors, see
            `erasing.random_erase`.
        erase_area: range of the area that random erasing replaces, as fractions of the image's
            area.
        erase_aspect: range of the aspect ratio, height / width, of an erased box.
        erase_count: largest number of erased boxes in an image, among which the area is divided.
        mixup_alpha: parameter α of Mixup's Beta(α, α) distribution; 0 for no Mixup.
        cutmix_alpha: parameter α of CutMix's Beta(α, α) distribution; 0 for no CutMix.
        mix_probability: probability that a batch, or an image if mix_mode is "elem", is mixed.
        mix_switch_probability: probability of CutMix instead of Mixup, if both are on.
        mix_mode: mode of mixing: "batch" with the same ratio for all images of a batch, or "elem"
            with a ratio for each image.
        mix_partner: partner of an image in mixing: "reversed" for the image as far from the end of
            the batch as it is from the start, as in timm; or "previous" for the one before it, as
            in AugReg, whose Mixup keeps λ at 1/2 and above.
        label_smoothing: label smoothing of the training targets, at least 0 and below 1.
        repeated_augmentation: number of differently augmented copies of an image that follow each
            other; an epoch keeps its length, so it contains fewer different images. 1 for none; 3
            in DeiT.
        interpolation: interpolation of resizing training images: "bicubic" or "bilinear".
        geometric_interpolation: interpolation of rotation, shear and translation: "bicubic",
            "bilinear" or "nearest".
        geometric_fill: color of the area that rotation, shear and translation leave empty and
            Cutout covers: "mean" for ImageNet's mean color, as in timm, or "gray" for 128 in all
            channels, as in AugReg.
    """

    crop: str = "random_resized_crop"
    crop_padding: int = 4
    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip_probability: float = 0.5
    auto_augment: str = "none"
    color_jitter: float = 0.0
    erase_probability: float = 0.0
    erase_mode: str = "pixel"
    erase_area: tuple[float, float] = (0.02, 1 / 3)
    erase_aspect: tuple[float, float] = (0.3, 1 / 0.3)
    erase_count: int = 1
    mixup_alpha: float = 0.8
    cutmix_alpha: float = 1.0
    mix_probability: float = 1.0
    mix_switch_probability: float = 0.5
    mix_mode: str = "batch"
    mix_partner: str = "reversed"
    label_smoothing: float = 0.1
    repeated_augmentation: int = 1
    interpolation: str = "bicubic"
    geometric_interpolation: str = "bicubic"
    geometric_fill: str = "mean"

    def __post_init__(self):
        fill = _OLD_FILLS.get(self.geometric_fill, self.geometric_fill)
        object.__setattr__(self, "geometric_fill", fill)
        choices = (
            *(("crop", _CROPS), ("erase_mode", ERASE_MODES), ("geometric_fill", FILLS)),
            *(("mix_mode", _MIX_MODES), ("mix_partner", _MIX_PARTNERS)),
        )
        for field, known in choices:
            if getattr(self, field) not in known:
                raise unknown_name(field, getattr(self, field), known)
        parse_policy(self.auto_augment)
        check_interpolation(self.interpolation)
        check_geometric_interpolation(self.geometric_interpolation)
        for field in ("crop_scale", "crop_aspect", "erase_area", "erase_aspect"):
            # JSON stores tuples as lists, which have no hash and do not equal tuples.
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


_FRACTIONS = "two fractions of the area, low <= high, within (0, 1]"
_PROBABILITY = "in [0, 1]"
_EXPECTED = {
    "crop_padding": "a whole number of pixels, 0 or more",
    "crop_scale": _FRACTIONS,
    "crop_aspect": "two ratios width / height above 0, low <= high",
    "flip_probability": _PROBABILITY,
    "color_jitter": "0 (off) or more",
    "erase_probability": _PROBABILITY,
    "erase_area": _FRACTIONS,
    "erase_aspect": "two ratios height / width above 0, low <= high",
    "erase_count": "a whole number, 1 or more",
    "mixup_alpha": "0 (off) or more",
    "cutmix_alpha": "0 (off) or more",
    "mix_probability": _PROBABILITY,
    "mix_switch_probability": _PROBABILITY,
    "label_smoothing": "at least 0 and below 1",
    "repeated_augmentation": "a whole number of copies, 1 (off) or more",
}
