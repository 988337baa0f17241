"""Random erasing: replaces boxes of a normalized image by noise."""

import math

import numpy as np

_ATTEMPTS = 10


def random_erase(
    image: np.ndarray,
    rng: np.random.Generator,
    probability: float,
    area: tuple[float, float] = (0.02, 1 / 3),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
    max_count: int = 1,
) -> None:
    """Fills boxes of an image with normal noise, in place (Zhong et al. 2020, "Random Erasing").

    This is timm's mode "pixel", which DeiT uses: every value of a box is drawn from N(0, 1), so the
    image has to be normalized before.

    Args:
        image: float32 (height, width, 3), normalized; changed in place.
        rng: the random generator.
        probability: the probability that the image is erased at all.
        area, aspect, max_count: as for `erase_boxes`.
    """
    if probability == 0 or rng.random() >= probability:
        return
    for top, left, height, width in erase_boxes(*image.shape[:2], rng, area, aspect, max_count):
        noise = rng.standard_normal((height, width, 3), np.float32)
        image[top : top + height, left : left + width] = noise


def erase_boxes(
    height: int,
    width: int,
    rng: np.random.Generator,
    area: tuple[float, float],
    aspect: tuple[float, float],
    max_count: int,
) -> list[tuple[int, int, int, int]]:
    """Returns the boxes to erase, each as (top, left, height, width) in pixels.

    A box that does not fit into the image is drawn again, at most ten times, and then left out.

    Args:
        height, width: the size of the image in pixels.
        rng: the random generator.
        area: range of the area of a box as a fraction of the image's area, before it is divided by
            the number of boxes; drawn uniformly.
        aspect: range of a box's height / width; its logarithm is drawn uniformly.
        max_count: the largest number of boxes; the number is uniform from 1 to this.
    """
    count = 1 if max_count == 1 else int(rng.integers(1, max_count + 1))
    boxes = [_box(height, width, rng, area, aspect, count) for _ in range(count)]
    return [box for box in boxes if box is not None]


def _box(height, width, rng, area, aspect, count) -> tuple[int, int, int, int] | None:
    log_aspect = math.log(aspect[0]), math.log(aspect[1])
    for _ in range(_ATTEMPTS):
        pixels = height * width * rng.uniform(*area) / count
        ratio = math.exp(rng.uniform(*log_aspect))
        box_height, box_width = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if box_height < height and box_width < width:
            top = rng.integers(height - box_height + 1)
            left = rng.integers(width - box_width + 1)
            return int(top), int(left), box_height, box_width
    return None
