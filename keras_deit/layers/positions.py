"""Variables that have one entry per patch, and how they change with the image size."""

import dataclasses
import math

import keras
import numpy as np

# The coefficient of PyTorch's cubic kernel; Keras's own resize has −0.5 on TensorFlow and JAX.
_A = -0.75

Grid = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class PositionTable:
    """A variable whose shape depends on the image size and that cannot be resized.

    Attributes:
        variable: of a layer.
        grid: rows and columns of the patches that it was built for; None if they are not known.
    """

    variable: keras.Variable
    grid: Grid | None

    resizable = False

    def patches(self, shape: tuple[int, ...]) -> int | None:
        """Returns how many patches a tensor of this shape, in Keras's layout, is for.

        None if no image size would give the variable that shape.
        """
        return None

    def resize(self, value: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
        """Returns the values for another grid of patches."""
        raise NotImplementedError


class AbsolutePositions(PositionTable):
    """Positions (1, prefix + rows·columns, width) that are added to the tokens.

    The prefix are class and distillation tokens, which keep their positions.
    """

    resizable = True

    def patches(self, shape: tuple[int, ...]) -> int | None:
        own = self.variable.shape
        if self.grid is None or len(shape) != 3 or shape[::2] != (1, own[2]):
            return None
        patches = shape[1] - (own[1] - math.prod(self.grid))
        return patches if patches > 0 else None

    def resize(self, value: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
        return resize_positions(value, source, target)


def resize_positions(positions: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    """Resizes positions bicubically, as the authors' fine-tuning code does.

    It uses half-pixel centers, no antialiasing, and repeats the border.

    Args:
        positions: (1, prefix + rows·columns, width), the patches row by row.
        source: rows and columns of the patches.
        target: rows and columns of the result.

    Returns:
        float32, (1, prefix + the target's rows·columns, width); `positions` itself if the grids
        are the same.
    """
    if source == target:
        return positions
    patches = math.prod(source)
    width = positions.shape[-1]
    prefix, grid = np.split(positions[0].astype("float32"), [positions.shape[1] - patches])
    rows, columns = (_resize_matrix(a, b) for a, b in zip(source, target, strict=True))
    grid = np.einsum("ia,jb,abc->ijc", rows, columns, grid.reshape(*source, width), optimize=True)
    return np.concatenate([prefix, grid.reshape(-1, width)])[np.newaxis]


def square_grid(patches: int) -> Grid | None:
    """Returns the square grid of this many patches; None if there is none."""
    side = math.isqrt(max(patches, 0))
    return (side, side) if side and side * side == patches else None


def _resize_matrix(source: int, target: int) -> np.ndarray:
    """Returns the weights (target, source) of every source entry in every target entry."""
    centers = (np.arange(target) + 0.5) * source / target - 0.5
    first = np.floor(centers).astype(int)
    matrix = np.zeros((target, source))
    for tap in (-1, 0, 1, 2):
        weights = _cubic_kernel(np.abs(centers - first - tap))
        np.add.at(matrix, (np.arange(target), np.clip(first + tap, 0, source - 1)), weights)
    return matrix.astype("float32")


def _cubic_kernel(x: np.ndarray) -> np.ndarray:
    """Returns the cubic convolution kernel for distances in [0, 2]."""
    near = (_A + 2) * x**3 - (_A + 3) * x**2 + 1
    far = _A * x**3 - 5 * _A * x**2 + 8 * _A * x - 4 * _A
    return np.where(x <= 1, near, far)
