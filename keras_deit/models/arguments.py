"""Checks of constructor arguments, one line for each mistake."""

import numbers
from collections.abc import Sequence

from keras_deit.core.errors import InputError


def check_rate(**rates: float) -> None:
    """Checks that rates of dropping are in [0, 1).

    Raises:
        InputError: one is not; the message names it.
    """
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise InputError(f"{name} should be in [0, 1). Received: {rate}")


def check_positive(**sizes: int) -> None:
    """Checks that sizes are whole numbers above 0.

    Raises:
        InputError: one is not; the message names it.
    """
    _check_above_zero(sizes, numbers.Integral, "whole number")


def check_classes(num_classes: int) -> None:
    """Checks a number of classes, which is 0 for a model without heads.

    Raises:
        InputError: it is no whole number of 0 or more.
    """
    if num_classes != 0:
        check_positive(num_classes=num_classes)


def check_ratio(**ratios: float) -> None:
    """Checks that ratios are numbers above 0.

    Raises:
        InputError: one is not; the message names it.
    """
    _check_above_zero(ratios, numbers.Real, "number")


def _check_above_zero(values: dict, kind: type, expected: str) -> None:
    for name, value in values.items():
        if not isinstance(value, kind):
            raise InputError(f"{name} should be a {expected}. Received: {value!r}")
        if value <= 0:
            raise InputError(f"{name} should be above 0. Received: {value}")


def block_channels(gates: bool, kept: Sequence[dict] | None, depth: int) -> list[dict]:
    """Returns what each block is told of its gates and of the channels that it keeps.

    Args:
        gates: whether there are gates.
        kept: for each block what `TransformerBlock` takes; None to keep all.
        depth: number of blocks, those of class attention included.

    Raises:
        InputError: it is for another number of blocks.
    """
    if kept is not None and len(kept) != depth:
        raise InputError(f"kept should be for {depth} blocks. Received: for {len(kept)}")
    return [{"gates": gates, "kept": kept and kept[index]} for index in range(depth)]


def check_image_size(
    image_size: int | tuple[int, int], patch_size: int, patch_name: str = "patch_size"
) -> tuple[int, int]:
    """Returns height and width of an image in pixels, checked against the patch size.

    Args:
        image_size: pixels of both sides, or (height, width).
        patch_size: side of a patch.
        patch_name: what the user calls it.

    Raises:
        InputError: a side is not a positive multiple of `patch_size`, or not an integer.
    """
    check_positive(patch_size=patch_size)
    sides = tuple(image_size) if isinstance(image_size, (tuple, list)) else (image_size,) * 2
    if len(sides) != 2 or not all(isinstance(side, numbers.Integral) for side in sides):
        raise InputError(
            "image_size should be a side in pixels or (height, width), whole numbers. "
            f"Received: {image_size!r}"
        )
    if any(side < patch_size or side % patch_size for side in sides):
        shown = "×".join(map(str, sides if isinstance(image_size, (tuple, list)) else sides[:1]))
        lower = max(min(sides) // patch_size, 1) * patch_size
        raise InputError(
            f"image_size {shown} is not a multiple of {patch_name} {patch_size}; "
            f"{lower} and {lower + patch_size} are."
        )
    return sides
