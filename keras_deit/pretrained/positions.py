"""Positions of one grid of patches for another."""

import math

import numpy as np

from keras_deit.models import Classifier

# Of the cubic kernel, as PyTorch has it; Keras's own resize has −0.5 on TensorFlow and JAX.
_A = -0.75


def resize_positions(
    positions: np.ndarray, source: tuple[int, int], target: tuple[int, int]
) -> np.ndarray:
    """Bicubic resize of the patches' positions, the rule of the authors' fine-tuning code.

    Half-pixel centres, no antialiasing, samples beyond the border taken from the border. What
    comes before the patches (class token, distillation token) is kept.

    Args:
        positions: (1, tokens + rows·columns, width), the patches row by row.
        source: rows and columns of the patches.
        target: rows and columns that are wanted.

    Returns:
        (1, tokens + the target's rows·columns, width), float32; the very `positions` where the
        grids are the same.
    """
    if source == target:
        return positions
    patches = math.prod(source)
    width = positions.shape[-1]
    prefix, grid = np.split(positions[0].astype("float32"), [positions.shape[1] - patches])
    rows, columns = (_matrix(a, b) for a, b in zip(source, target, strict=True))
    grid = np.einsum("ia,jb,abc->ijc", rows, columns, grid.reshape(*source, width), optimize=True)
    return np.concatenate([prefix, grid.reshape(-1, width)])[np.newaxis]


def patch_grid_of(model: Classifier) -> tuple[int, int] | None:
    """Rows and columns of a model's patches; None where it has no patch size."""
    patch_size = model.get_config().get("patch_size")
    if patch_size is None:
        return None
    return model.image_format.height // patch_size, model.image_format.width // patch_size


def square_grid(patches: int) -> tuple[int, int] | None:
    """Of so many patches; None where they make no square."""
    side = math.isqrt(max(patches, 0))
    return (side, side) if side and side * side == patches else None


def _matrix(source: int, target: int) -> np.ndarray:
    """(target, source): what each of the samples that are there gives to each that is wanted."""
    centres = (np.arange(target) + 0.5) * source / target - 0.5
    first = np.floor(centres).astype(int)
    matrix = np.zeros((target, source))
    for tap in (-1, 0, 1, 2):
        weights = _kernel(np.abs(centres - first - tap))
        np.add.at(matrix, (np.arange(target), np.clip(first + tap, 0, source - 1)), weights)
    return matrix.astype("float32")


def _kernel(x: np.ndarray) -> np.ndarray:
    """The cubic convolution kernel for distances in [0, 2]."""
    near = (_A + 2) * x**3 - (_A + 3) * x**2 + 1
    far = _A * x**3 - 5 * _A * x**2 + 8 * _A * x - 4 * _A
    return np.where(x <= 1, near, far)
