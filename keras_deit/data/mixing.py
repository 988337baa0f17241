"""Mixup and CutMix: a batch blended with itself, and its soft targets.

As timm does in its batch mode, which DeiT uses (Touvron et al. 2021, section 6): one lambda per
batch, each image's partner is the one at the same place from the batch's end, and label smoothing
is inside the targets. Partners trade places, so one image of a batch of odd size is its own.
"""

import math

import numpy as np

from keras_deit.errors import InputError


def one_hot_smoothed(labels: np.ndarray, num_classes: int, smoothing: float) -> np.ndarray:
    """One-hot targets with label smoothing (Szegedy et al. 2016, section 7).

    Args:
        labels: integers in [0, num_classes), (batch,).
        num_classes: K.
        smoothing: s; a wrong class gets s / K, the right one 1 - s + s / K.

    Returns:
        float32, (batch, num_classes).

    Raises:
        InputError: the labels are not integer class indices below `num_classes`.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            "Labels should be one integer class index per image. "
            f"Received: {labels.dtype} of shape {labels.shape}."
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise InputError(
            f"Labels should be at least 0 and below {num_classes}, the number of classes. "
            f"Received: {labels.min()} to {labels.max()}."
        )
    off = smoothing / num_classes
    targets = np.full((len(labels), num_classes), off, np.float32)
    targets[np.arange(len(labels)), labels] = 1 - smoothing + off
    return targets


def mixup(images: np.ndarray, targets: np.ndarray, lam: float) -> tuple[np.ndarray, np.ndarray]:
    """Blends every image and target with its partner's (Zhang et al. 2018).

    Args:
        images: float32, (batch, height, width, 3).
        targets: float32, (batch, classes).
        lam: the share that an image keeps of itself, in [0, 1].
    """
    return _blend(images, lam), _blend(targets, lam)


def cutmix(
    images: np.ndarray, targets: np.ndarray, lam: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pastes a box of every image's partner into it (Yun et al. 2019).

    The box is the same for the whole batch. The targets are mixed by the area that was really
    pasted, which is smaller than 1 - lam where the box reaches over the border.

    Args:
        images: float32, (batch, height, width, 3).
        targets: float32, (batch, classes).
        lam: the share of the area that an image should keep, in [0, 1].
        rng: the source of the box's centre.
    """
    height, width = images.shape[1:3]
    top, bottom, left, right = cutmix_box(height, width, lam, rng)
    mixed = images.copy()
    mixed[:, top:bottom, left:right] = images[::-1, top:bottom, left:right]
    kept = 1 - (bottom - top) * (right - left) / (height * width)
    return mixed, _blend(targets, kept)


def cutmix_box(
    height: int, width: int, lam: float, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """The (top, bottom, left, right) of a box around a uniform centre, clipped to the image."""
    side = math.sqrt(1 - lam)
    half_height, half_width = int(height * side) // 2, int(width * side) // 2
    row, column = int(rng.integers(height)), int(rng.integers(width))
    return (
        max(row - half_height, 0),
        min(row + half_height, height),
        max(column - half_width, 0),
        min(column + half_width, width),
    )


def mix_batch(
    images: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    mixup_alpha: float,
    cutmix_alpha: float,
    switch_probability: float,
    smoothing: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Makes soft targets and applies Mixup or CutMix to the batch.

    Args:
        images: float32, (batch, height, width, 3), normalised.
        labels: integers, (batch,).
        num_classes: K.
        mixup_alpha, cutmix_alpha: lambda is drawn from Beta(alpha, alpha); 0 switches the
            method off. With both off the images stay as they are.
        switch_probability: of CutMix, where both are on.
        smoothing: of the labels.
        rng: the source of everything random.

    Returns:
        float32 images of the same shape and float32 targets (batch, num_classes).
    """
    targets = one_hot_smoothed(labels, num_classes, smoothing)
    images = images.astype(np.float32, copy=False)
    if mixup_alpha == 0 and cutmix_alpha == 0:
        return images, targets
    both = mixup_alpha > 0 and cutmix_alpha > 0
    use_cutmix = rng.random() < switch_probability if both else cutmix_alpha > 0
    if use_cutmix:
        return cutmix(images, targets, rng.beta(cutmix_alpha, cutmix_alpha), rng)
    return mixup(images, targets, rng.beta(mixup_alpha, mixup_alpha))


def _blend(values: np.ndarray, kept: float) -> np.ndarray:
    blended = values * np.float32(kept)
    blended += values[::-1] * np.float32(1 - kept)
    return blended
