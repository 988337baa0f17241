"""Random erasing: replaces boxes of a normalized image by noise or by its mean color."""

import math
from collections.abc import Sequence

import numpy as np

ERASE_MODES = ("pixel", "mean")
# How often a box is drawn until it fits, in the code of timm and in that of the authors.
_ATTEMPTS = {"pixel": 10, "mean": 100}


def random_erase(
    image: np.ndarray,
    rng: np.random.Generator,
    probability: float,
    area: tuple[float, float] = (0.02, 1 / 3),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
    max_count: int = 1,
    mode: str = "pixel",
    mean: Sequence[float] = (),
) -> None:
    """Erases boxes of an image, in place (Zhong et al. 2020, "Random Erasing").

    In timm's mode "pixel", which DeiT uses, every value of a box is drawn from N(0, 1), so the
    image has to be normalized before. In the mode "mean" of its authors' code a box gets the means
    that the image was normalized with, although it is normalized already: not the value 0 that
    stands for them, but 0.44 or so.

    Args:
        image: float32 (height, width, 3), normalized; changed in place.
        rng: the random generator.
        probability: the probability that the image is erased at all.
        area, aspect, max_count, mode: as for `erase_boxes`.
        mean: the values of a box in the mode "mean".
    """
    if probability == 0 or rng.random() >= probability:
        return
    boxes = erase_boxes(*image.shape[:2], rng, area, aspect, max_count, mode)
    for top, left, height, width in boxes:
        if mode == "mean":
            value = np.asarray(mean, np.float32)
        else:
            value = rng.standard_normal((height, width, 3), np.float32)
        image[top : top + height, left : left + width] = value


def erase_boxes(
    height: int,
    width: int,
    rng: np.random.Generator,
    area: tuple[float, float],
    aspect: tuple[float, float],
    max_count: int,
    mode: str = "pixel",
) -> list[tuple[int, int, int, int]]:
    """Returns the boxes to erase, each as (top, left, height, width) in pixels.

    A box that does not fit into the image is drawn again, at most ten times, or a hundred times in
    the mode "mean", and then left out.

    Args:
        height, width: the size of the image in pixels.
        rng: the random generator.
        area: range of the area of a box as a fraction of the image's area, before it is divided by
            the number of boxes; drawn uniformly.
        aspect: range of a box's height / width; its logarithm is drawn uniformly, or itself in the
            mode "mean".
        max_count: the largest number of boxes; the number is uniform from 1 to this.
        mode: one of `ERASE_MODES`.
    """
    count = 1 if max_count == 1 else int(rng.integers(1, max_count + 1))
    boxes = [_box(height, width, rng, area, aspect, count, mode) for _ in range(count)]
    return [box for box in boxes if box is not None]


def _box(height, width, rng, area, aspect, count, mode) -> tuple[int, int, int, int] | None:
    log_aspect = math.log(aspect[0]), math.log(aspect[1])
    for _ in range(_ATTEMPTS[mode]):
        pixels = height * width * rng.uniform(*area) / count
        ratio = rng.uniform(*aspect) if mode == "mean" else math.exp(rng.uniform(*log_aspect))
        box_height, box_width = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if box_height < height and box_width < width:
            top = rng.integers(height - box_height + 1)
            left = rng.integers(width - box_width + 1)
            return int(top), int(left), box_height, box_width
    return None
