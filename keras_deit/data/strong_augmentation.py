"""The augmentation of CViT: Albumentations' "strong" example, in the version of its authors.

github.com/erprogs/CViT, helpers/augmentation.py, with the default ranges of Albumentations 0.5. The
policy draws which operations of `strong_operations` an image gets, and their values.
"""

import math

import numpy as np

from keras_deit.data.operations import Step

_PROBABILITY = 0.9


class StrongAugmentation:
    """Turns, mirrors, distorts, colors an image and adds noise, each with its own probability."""

    def draw(self, rng: np.random.Generator) -> list[Step]:
        """Draws the operations for one image; with probability 0.1 there are none."""
        if rng.random() >= _PROBABILITY:
            return []
        steps = []
        for probability, drawn in (
            (0.2, _quarter_turns),
            (0.2, lambda rng: Step("Transpose", ())),
            (0.5, lambda rng: Step("MirrorX", ())),
            (0.5, lambda rng: Step("MirrorY", ())),
            (0.2, _noise),
            (0.2, _shift_scale_rotate),
            (0.2, _contrast_or_edges),
            (0.2, lambda rng: Step("ShiftHSV", tuple(rng.uniform(-1, 1, 3) * (20, 30, 20)))),
        ):
            if rng.random() < probability:
                steps.append(drawn(rng))
        return steps


def _quarter_turns(rng: np.random.Generator) -> Step:
    return Step("QuarterTurns", (int(rng.integers(4)),))


def _noise(rng: np.random.Generator) -> Step:
    """Either gray noise, or noise of each channel, which are as likely."""
    seed = int(rng.integers(2**32))
    if rng.random() < 0.5:
        return Step("GrayNoise", (rng.uniform(0.01, 0.05) * 255, seed))
    return Step("ColorNoise", (math.sqrt(rng.uniform(10, 50)), seed))


def _shift_scale_rotate(rng: np.random.Generator) -> Step:
    angle, scale = rng.uniform(-45, 45), 1 + rng.uniform(-0.1, 0.1)
    return Step("ShiftScaleRotate", (angle, scale, *rng.uniform(-0.0625, 0.0625, 2)))


def _contrast_or_edges(rng: np.random.Generator) -> Step:
    choice = rng.integers(4)
    if choice == 0:
        return Step("CLAHE", (rng.uniform(1, 2),))
    if choice == 1:
        return Step("Sharpen", (rng.uniform(0.2, 0.5), rng.uniform(0.5, 1)))
    if choice == 2:
        return Step("Emboss", (rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.7)))
    return Step("BrightnessContrast", tuple(rng.uniform(-0.2, 0.2, 2)))
