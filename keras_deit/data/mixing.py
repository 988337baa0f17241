"""Mixup and CutMix: mixes the images of a batch and makes soft targets.

It follows timm's implementation for DeiT (Touvron et al. 2021, section 6): image i is mixed with
its partner, image B - 1 - i of B; one λ is drawn for the batch or one for each image; label
smoothing is applied before the targets are mixed. In a batch of odd size the middle image is its
own partner and stays unchanged.

In AugReg (Steiner et al. 2021) the partner is image i - 1, that of the first the last, and Mixup's
λ is 1/2 or more, so that an image keeps its label. A batch that is divided among processes or
micro-batches is mixed in each of its shards by itself, as it is on each of the authors' devices.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.data.augmentation import Augmentation


class Mix(NamedTuple):
    """How an image is mixed with its partner.

    Attributes:
        lam: the weight λ of the image itself in its target, in [0, 1]; its partner has 1 - λ.
        box: (top, bottom, left, right) of the pixels that CutMix takes from the partner; None for
            Mixup.
    """

    lam: float
    box: tuple[int, int, int, int] | None = None


_UNMIXED = Mix(1.0)


def mix_batch(
    images: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Makes soft targets and applies Mixup or CutMix to a batch.

    Args:
        images: float32 (batch, height, width, 3), normalized; mixed in place.
        labels: integers (batch,), or one-hot (batch, num_classes).
        num_classes: the number of classes.
        augmentation: the fields whose names start with `mix`, `cutmix` and `label` are used.
        rng: the random generator.

    Returns:
        The images, and targets as float32 (batch, num_classes).

    Raises:
        InputError: the labels are of another kind.
    """
    mixes = draw_mixes(len(images), *images.shape[1:3], augmentation, rng)
    smoothing, partner = augmentation.label_smoothing, augmentation.mix_partner
    return apply_mixes(images, labels, num_classes, smoothing, mixes, partner)


def draw_mixes(
    count: int, height: int, width: int, augmentation: Augmentation, rng: np.random.Generator
) -> list[Mix]:
    """Draws the mix of each of the `count` images of a batch, see `draw_mix`."""
    if augmentation.mix_mode == "elem":
        return [draw_mix(height, width, augmentation, rng) for _ in range(count)]
    return [draw_mix(height, width, augmentation, rng)] * count


def apply_mixes(
    images: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    smoothing: float,
    mixes: list[Mix],
    partner: str = "reversed",
) -> tuple[np.ndarray, np.ndarray]:
    """Applies mixes that are drawn already, one for each image; see `mix_batch`.

    So a shard of a batch, which holds the "reversed" partners together, is mixed as in the whole
    batch.
    """
    targets = one_hot_smoothed(labels, num_classes, smoothing)
    mix_images(images, mixes, partner)
    lam = np.array([mix.lam for mix in mixes], np.float32)[:, None]
    others = targets[::-1] if partner == "reversed" else np.roll(targets, 1, axis=0)
    return images, lam * targets + (1 - lam) * others


def draw_mix(height: int, width: int, augmentation: Augmentation, rng: np.random.Generator) -> Mix:
    """Draws the method, λ from Beta(α, α), and the box of CutMix.

    A box of CutMix that crosses the border of the image is clipped, and λ is corrected to the area
    that remains.

    Args:
        height, width: the size of the images in pixels.
        augmentation: the fields whose names start with `mix` and `cutmix` are used.
        rng: the random generator.
    """
    mixup_alpha, cutmix_alpha = augmentation.mixup_alpha, augmentation.cutmix_alpha
    if mixup_alpha == 0 and cutmix_alpha == 0:
        return _UNMIXED
    if augmentation.mix_probability < 1 and rng.random() >= augmentation.mix_probability:
        return _UNMIXED
    both = mixup_alpha > 0 and cutmix_alpha > 0
    use_cutmix = rng.random() < augmentation.mix_switch_probability if both else cutmix_alpha > 0
    if not use_cutmix:
        lam = float(rng.beta(mixup_alpha, mixup_alpha))
        return Mix(max(lam, 1 - lam) if augmentation.mix_partner == "previous" else lam)
    box = cutmix_box(height, width, rng.beta(cutmix_alpha, cutmix_alpha), rng)
    top, bottom, left, right = box
    return Mix(1 - (bottom - top) * (right - left) / (height * width), box)


def mix_images(images: np.ndarray, mixes: list[Mix], partner: str = "reversed") -> None:
    """Mixes every image with its partner, in place.

    Mixup (Zhang et al. 2018) blends the two images, CutMix (Yun et al. 2019) replaces a box.

    Args:
        images: float32 (batch, height, width, 3).
        mixes: the mix of each image.
        partner: as `mix_partner` of an augmentation.
    """
    # OpenCV supports at most four channels, so images become matrices of rows.
    rows = images.reshape(*images.shape[:2], -1)
    if partner == "previous":
        last = rows[-1:].copy()
        for row in range(len(rows) - 1, -1, -1):
            _mix_into(rows[row], rows[row - 1] if row else last[0], mixes[row])
        return
    for first in range(len(images) // 2):
        second = len(images) - 1 - first
        if mixes[first].lam == mixes[second].lam == 1:
            continue
        original = rows[first].copy()
        _mix_into(rows[first], rows[second], mixes[first])
        _mix_into(rows[second], original, mixes[second])


def _mix_into(image: np.ndarray, partner: np.ndarray, mix: Mix) -> None:
    if mix.box is None:
        cv2.addWeighted(image, mix.lam, partner, 1 - mix.lam, 0, dst=image)
    else:
        top, bottom, left, right = mix.box
        image[top:bottom, 3 * left : 3 * right] = partner[top:bottom, 3 * left : 3 * right]


def cutmix_box(
    height: int, width: int, lam: float, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draws a box (top, bottom, left, right) with a uniform center, clipped to the image.

    Before it is clipped, its area is the fraction 1 - λ of the image's area.
    """
    side = math.sqrt(1 - lam)
    half_height, half_width = int(height * side) // 2, int(width * side) // 2
    row, column = int(rng.integers(height)), int(rng.integers(width))
    return (
        max(row - half_height, 0),
        min(row + half_height, height),
        max(column - half_width, 0),
        min(column + half_width, width),
    )


def one_hot_smoothed(labels: np.ndarray, num_classes: int, smoothing: float) -> np.ndarray:
    """Returns one-hot targets with label smoothing (Szegedy et al. 2016, section 7).

    Args:
        labels: integers in [0, num_classes) (batch,), or one-hot (batch, num_classes).
        num_classes: the number of classes K.
        smoothing: the label smoothing s: the target of a wrong class is s / K, that of the right
            class 1 - s + s / K.

    Returns:
        float32 (batch, num_classes).

    Raises:
        InputError: the labels are neither of the two.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2:
        labels = _indices(labels, num_classes)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            "Labels should be one integer class index per image, or one-hot rows. "
            f"Received: {labels.dtype} of shape {labels.shape}."
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise InputError(
            f"Labels should be at least 0 and below {num_classes}, the number of classes. "
            f"Received: {labels.min()} to {labels.max()}."
        )
    off_value = smoothing / num_classes
    targets = np.full((len(labels), num_classes), off_value, np.float32)
    targets[np.arange(len(labels)), labels] = 1 - smoothing + off_value
    return targets


def _indices(one_hot: np.ndarray, num_classes: int) -> np.ndarray:
    ones = one_hot == 1
    if one_hot.shape[1] != num_classes or not (
        (ones.sum(1) == 1).all() and ((one_hot == 0) | ones).all()
    ):
        raise InputError(
            f"Labels of two dimensions should be one-hot over {num_classes} classes. "
            f"Received: {one_hot.dtype} of shape {one_hot.shape}."
        )
    return ones.argmax(1)
