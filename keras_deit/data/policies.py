"""Augmentation policies: RandAugment, AutoAugment and 3-Augment, by strings like timm's.

A policy draws the operations for one image; only these are computed.
"""

import dataclasses
import math
import re
from typing import Protocol

import numpy as np

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.data.auto_augment_policies import AUTO_AUGMENT
from keras_deit.data.operations import MAX_MAGNITUDE, Step, scaled_step
from keras_deit.data.strong_augmentation import StrongAugmentation

_BLUR_RADII = (0.1, 2.0)
# Of BYOL: operation, center and largest distance from it.
_JITTER = (
    *(("Brightness", 1, 0.4), ("Contrast", 1, 0.4)),
    *(("Color", 1, 0.2), ("Hue", 0, 0.1)),
)
_JITTER_PROBABILITY, _GRAYSCALE_PROBABILITY = 0.8, 0.2
_UNIFORM_NOISE = 100  # As in timm, a larger standard deviation means a uniform magnitude.


class Policy(Protocol):
    """An augmentation policy."""

    def draw(self, rng: np.random.Generator) -> list[Step]:
        """Draws the operations for one image."""


def parse_policy(text: str) -> Policy:
    """Returns the policy that a string describes.

    Args:
        text: one of the following, with any of the sections in parentheses:
            "none";
            "3a" for 3-Augment;
            "strong" for CViT's augmentation, see `StrongAugmentation`;
            "original", "originalr", "v0" or "v0r" for AutoAugment as in timm, "imagenet", "cifar10"
            or "svhn" for that of this data set in PyTorch's usual form ("-mstd0.5": standard
            deviation of the magnitudes, 0 by default);
            "rand" for RandAugment ("-m9": magnitude, 10 by default; "-n2": number of operations, 2
            by default; "-p0.5": probability that an operation is applied, 0.5 by default;
            "-mstd0.5": standard deviation of the magnitude, 0 by default, or above 100 or "inf"
            for a magnitude that is uniform in [0, m]; "-inc1": increasing variants, 0 by default);
            "tfrand" for RandAugment as in its authors' TensorFlow code ("-m15": magnitude, 10 by
            default; "-n2": number of operations, 2 by default);
            "byol" for the policy of BYOL and DINO ("-b1": probability of blur, 0.5 by default;
            "-s0.2": probability of solarization, 0 by default);
            "affine" for rotation, scaling, shear and translation at once ("-m5": magnitude, 5 by
            default).

    Raises:
        InputError: there is no such policy, or it has no such section.
    """
    name, *sections = text.split("-")
    if name not in _PARSERS:
        raise unknown_name("auto_augment", name, _PARSERS)
    known, parse = _PARSERS[name]
    values = {}
    for section in sections:
        key, number = re.fullmatch(r"(\D*?)((?:\d.*|inf)?)", section).groups()
        if not re.fullmatch(known.get(key, "(?!)"), number):
            examples = ", ".join(_EXAMPLES[key] for key in known) or "no sections"
            raise InputError(
                f"auto_augment {text!r}: {name!r} has no section {section!r}, but {examples}, also "
                "with other numbers."
            )
        values[key] = float(number)
    return parse(name, values)


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """RandAugment (Cubuk et al. 2020) as in timm.

    Attributes:
        magnitude: the magnitude of the operations, in [0, 10].
        magnitude_std: the standard deviation of the magnitude; `math.inf` for a magnitude that is
            uniform in [0, magnitude].
        draws: the number of operations drawn for an image, with replacement.
        probability: the probability that a drawn operation is applied.
        increasing: whether all operations become stronger with the magnitude.
    """

    magnitude: float = 10
    magnitude_std: float = 0
    draws: int = 2
    probability: float = 0.5
    increasing: bool = False

    def draw(self, rng: np.random.Generator) -> list[Step]:
        names = _INCREASING if self.increasing else _PLAIN
        drawn = [names[int(rng.integers(len(names)))] for _ in range(self.draws)]
        return [
            scaled_step(name, noisy_magnitude(self.magnitude, self.magnitude_std, rng), rng)
            for name in drawn
            if rng.random() < self.probability
        ]


@dataclasses.dataclass(frozen=True)
class TensorFlowRandAugment:
    """RandAugment as in the TensorFlow code of its authors, which AugReg uses.

    It has sixteen operations, including Cutout, and applies every operation that is drawn. The
    magnitude can be above 10. A magnitude of 0 is not the weakest augmentation: there Solarize
    inverts the image, Posterize makes it black, and color, contrast, brightness and sharpness are
    reduced to a tenth. Solarize has no effect from magnitude 10 on, Posterize from 20 on.

    Attributes:
        magnitude: the magnitude of the operations, 0 or more.
        draws: the number of operations drawn for an image, with replacement.
    """

    magnitude: float = 10
    draws: int = 2

    def draw(self, rng: np.random.Generator) -> list[Step]:
        drawn = [_TENSORFLOW[int(rng.integers(len(_TENSORFLOW)))] for _ in range(self.draws)]
        return [scaled_step(name, self.magnitude, rng) for name in drawn]


_PLAIN = (
    *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd"),
    *("Color", "Contrast", "Brightness", "Sharpness"),
    *("ShearX", "ShearY", "TranslateX", "TranslateY"),
)
_WITH_INCREASING = ("Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness")
_TENSORFLOW = (
    *(name for name in _PLAIN if not name.startswith("Translate")),
    *("TranslateXPixels", "TranslateYPixels", "Cutout"),
)
_INCREASING = tuple(f"{name}Increasing" if name in _WITH_INCREASING else name for name in _PLAIN)


@dataclasses.dataclass(frozen=True)
class AutoAugment:
    """AutoAugment (Cubuk et al. 2019): draws one of 25 pairs of operations.

    Attributes:
        name: one of `auto_augment_policies.AUTO_AUGMENT`.
        magnitude_std: the standard deviation of the magnitudes, as in `RandAugment`.
    """

    name: str
    magnitude_std: float = 0

    def draw(self, rng: np.random.Generator) -> list[Step]:
        pairs = AUTO_AUGMENT[self.name]
        return [
            scaled_step(name, noisy_magnitude(magnitude, self.magnitude_std, rng), rng)
            for name, probability, magnitude in pairs[int(rng.integers(len(pairs)))]
            if rng.random() < probability
        ]


@dataclasses.dataclass(frozen=True)
class Affine:
    """Rotates, scales, shears and moves an image at random; the border is that of the image.

    It is for small images of any kind, also such whose colors or mirror images have a meaning.

    Attributes:
        magnitude: the magnitude of the changes, in [0, 10]. At 10 the rotation is up to 24°, the
            scale a factor up to 1.3, the shear up to 0.3, and the translation up to a fifth of the
            image.
    """

    magnitude: float = 5

    def draw(self, rng: np.random.Generator) -> list[Step]:
        angle, scale, shear, *shift = rng.uniform(-1, 1, 5) * (self.magnitude / MAX_MAGNITUDE)
        angle, factor = math.radians(24 * angle), 1.3**scale
        cosine, sine = factor * math.cos(angle), factor * math.sin(angle)
        # The shear comes after the rotation, along the rows.
        linear = (cosine, 0.3 * shear - sine, sine, cosine)
        return [Step("Distort", (linear, (0.2 * shift[0], 0.2 * shift[1])))]


class ThreeAugment:
    """3-Augment (Touvron et al. 2022, "DeiT III", section 3): grayscale, solarization or blur."""

    def draw(self, rng: np.random.Generator) -> list[Step]:
        choice = rng.integers(3)
        if choice == 0:
            return [Step("Grayscale")]
        if choice == 1:
            return [Step("Solarize", 128)]
        return [Step("GaussianBlur", rng.uniform(*_BLUR_RADII))]


@dataclasses.dataclass(frozen=True)
class Byol:
    """Color jitter, grayscale, blur and solarization ("Bootstrap Your Own Latent", Grill et al.
    2020, appendix B), as in DINO's code for one kind of crop.

    Brightness, contrast and saturation are multiplied by factors up to 0.4, 0.4 and 0.2 away from
    1, and the hue is turned by up to 0.1 of the color circle, in a random order, with probability
    0.8; grayscale has the probability 0.2.

    Attributes:
        blur: probability of a Gaussian blur with a radius of 0.1 to 2 pixels.
        solarize: probability of solarization.
    """

    blur: float = 0.5
    solarize: float = 0.0

    def draw(self, rng: np.random.Generator) -> list[Step]:
        steps = []
        if rng.random() < _JITTER_PROBABILITY:
            values = [float(center + rng.uniform(-1, 1) * s) for _, center, s in _JITTER]
            steps = [Step(_JITTER[i][0], values[i]) for i in rng.permutation(len(_JITTER))]
        if rng.random() < _GRAYSCALE_PROBABILITY:
            steps.append(Step("Grayscale"))
        if rng.random() < self.blur:
            steps.append(Step("GaussianBlur", float(rng.uniform(*_BLUR_RADII))))
        if rng.random() < self.solarize:
            steps.append(Step("Solarize", 128))
        return steps


class NoPolicy:
    """Draws no operations."""

    def draw(self, rng: np.random.Generator) -> list[Step]:
        return []


def color_jitter(strength: float, rng: np.random.Generator) -> list[Step]:
    """Draws changes of brightness, contrast and saturation, as torchvision's `ColorJitter`.

    Args:
        strength: s; the factors are uniform in [max(0, 1 - s), 1 + s]. 0 for no operations.
        rng: the random generator for the factors and their order.
    """
    if strength == 0:
        return []
    names = ("Brightness", "Contrast", "Color")
    factors = rng.uniform(max(0, 1 - strength), 1 + strength, 3)
    return [Step(names[i], float(factors[i])) for i in rng.permutation(3)]


def noisy_magnitude(magnitude: float, std: float, rng: np.random.Generator) -> float:
    """Draws a magnitude with noise, clipped to [0, 10]."""
    if std == math.inf:
        magnitude = rng.uniform(0, magnitude)
    elif std > 0:
        magnitude = rng.normal(magnitude, std)
    return min(max(magnitude, 0), MAX_MAGNITUDE)


def _parse_rand_augment(name: str, values: dict[str, float]) -> RandAugment:
    return RandAugment(
        magnitude=values.get("m", MAX_MAGNITUDE),
        magnitude_std=_std(values),
        draws=int(values.get("n", 2)),
        probability=values.get("p", 0.5),
        increasing=bool(values.get("inc", 0)),
    )


def _parse_tensorflow(name: str, values: dict[str, float]) -> TensorFlowRandAugment:
    return TensorFlowRandAugment(values.get("m", 10), int(values.get("n", 2)))


def _std(values: dict[str, float]) -> float:
    std = values.get("mstd", 0)
    return math.inf if std > _UNIFORM_NOISE else std


_NUMBER = r"\d+(\.\d+)?"
_NOISE = {"mstd": rf"{_NUMBER}|inf"}
_RAND_AUGMENT = {"m": _NUMBER, "n": r"\d+", "p": r"0(\.\d+)?|1", **_NOISE, "inc": "[01]"}
_BYOL = {"b": r"0(\.\d+)?|1", "s": r"0(\.\d+)?|1"}
_EXAMPLES = {
    "b": "b0.5",
    "s": "s0.2",
    "m": "m9",
    "n": "n2",
    "p": "p0.5",
    "mstd": "mstd0.5",
    "inc": "inc1",
}
_PARSERS = {
    "none": ({}, lambda name, values: NoPolicy()),
    "3a": ({}, lambda name, values: ThreeAugment()),
    "strong": ({}, lambda name, values: StrongAugmentation()),
    "rand": (_RAND_AUGMENT, _parse_rand_augment),
    "byol": (_BYOL, lambda name, values: Byol(values.get("b", 0.5), values.get("s", 0.0))),
    "affine": ({"m": _NUMBER}, lambda name, values: Affine(values.get("m", 5))),
    "tfrand": ({key: _RAND_AUGMENT[key] for key in "mn"}, _parse_tensorflow),
    **{
        name: (_NOISE, lambda name, values: AutoAugment(name, _std(values)))
        for name in AUTO_AUGMENT
    },
}
