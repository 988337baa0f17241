"""Variables that have one entry per patch, and how they change with the image size."""

import dataclasses
import math
from typing import ClassVar

import keras
import numpy as np

# The coefficient of PyTorch's cubic kernel; Keras's own resize has −0.5 on TensorFlow and JAX.
_A = -0.75

Grid = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class PositionTable:
    """A variable whose shape depends on the image size; this one cannot be resized.

    A subclass that can be resized has `shape` and `resize`.

    Attributes:
        variable: variable of a layer.
        grid: rows and columns that it was built for: of the patches, of those of a later stage, or
            of a window. None if they are not known, and then it cannot be resized.
        is_embedding: whether it holds positions, and not weights of a layer over the patches.
    """

    variable: keras.Variable
    grid: Grid | None
    is_embedding: ClassVar[bool] = True

    def shape(self, grid: Grid) -> tuple[int, ...]:
        """Returns the shape that the variable would have for another grid."""
        raise NotImplementedError

    def resize(self, value: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
        """Returns the values for another grid."""
        raise NotImplementedError

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Returns whether shape, in Keras's layout, is the variable's, up to the grid."""
        own = tuple(self.variable.shape)
        if self.grid is None or len(shape) != len(own):
            return shape == own
        rows, columns = self.grid
        larger = self.shape((rows + 1, columns + 1))
        return all(a == b or b != c for a, b, c in zip(shape, own, larger, strict=True))

    def square_grid(self, shape: tuple[int, ...]) -> Grid | None:
        """Returns the square grid for which the variable has this shape; None if there is none."""
        grids = ((side, side) for side in range(1, max(shape, default=0) + 1))
        return next((grid for grid in grids if self.shape(grid) == shape), None)


class PatchKernel(PositionTable):
    """The weights of a linear layer over the patches, which cannot be resized."""

    is_embedding = False


class AbsolutePositions(PositionTable):
    """Positions (1, prefix + rows·columns, width) that are added to the tokens.

    The prefix are class and distillation tokens, which keep their positions.
    """

    def shape(self, grid: Grid) -> tuple[int, ...]:
        first, length, width = self.variable.shape
        return (first, length - math.prod(self.grid) + math.prod(grid), width)

    def resize(self, value: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
        return resize_positions(value, source, target)


class RelativePositions(PositionTable):
    """A bias ((2·rows − 1)·(2·columns − 1), heads) for each offset between two tokens of a window.

    It is resized as an image of these biases, as Swin's authors do.
    """

    def shape(self, grid: Grid) -> tuple[int, ...]:
        return (math.prod(_offsets(grid)), self.variable.shape[1])

    def resize(self, value: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
        return resize_positions(value[np.newaxis], _offsets(source), _offsets(target))[0]


def _offsets(grid: Grid) -> Grid:
    rows, columns = grid
    return 2 * rows - 1, 2 * columns - 1


def resize_positions(
    positions: np.ndarray, source: Grid, target: Grid, corner_aligned: bool = False
) -> np.ndarray:
    """Resizes positions bicubically, as the authors' fine-tuning code does.

    It uses half-pixel centers, no antialiasing, and repeats the border.

    Args:
        positions: (1, prefix + rows·columns, width), the patches row by row.
        source: rows and columns of the patches.
        target: rows and columns of the result.
        corner_aligned: whether to resize bilinearly instead, such that corners stay corners: as the
            authors of ViT fine-tune it.

    Returns:
        float32, (1, prefix + the target's rows·columns, width); `positions` itself if the grids
        are the same.
    """
    if source == target:
        return positions
    patches = math.prod(source)
    width = positions.shape[-1]
    prefix, grid = np.split(positions[0].astype("float32"), [positions.shape[1] - patches])
    matrix = _bilinear_matrix if corner_aligned else _resize_matrix
    rows, columns = (matrix(a, b) for a, b in zip(source, target, strict=True))
    grid = np.einsum("ia,jb,abc->ijc", rows, columns, grid.reshape(*source, width), optimize=True)
    return np.concatenate([prefix, grid.reshape(-1, width)])[np.newaxis]


def _resize_matrix(source: int, target: int) -> np.ndarray:
    """Returns the weights (target, source) of every source entry in every target entry."""
    centers = (np.arange(target) + 0.5) * source / target - 0.5
    first = np.floor(centers).astype(int)
    matrix = np.zeros((target, source))
    for tap in (-1, 0, 1, 2):
        weights = _cubic_kernel(np.abs(centers - first - tap))
        np.add.at(matrix, (np.arange(target), np.clip(first + tap, 0, source - 1)), weights)
    return matrix.astype("float32")


def _bilinear_matrix(source: int, target: int) -> np.ndarray:
    """Returns the same for linear interpolation whose first and last entries are the source's."""
    places = np.linspace(0, source - 1, target)[:, None]
    return np.maximum(1 - np.abs(places - np.arange(source)), 0).astype("float32")


def _cubic_kernel(x: np.ndarray) -> np.ndarray:
    """Returns the cubic convolution kernel for distances in [0, 2]."""
    near = (_A + 2) * x**3 - (_A + 3) * x**2 + 1
    far = _A * x**3 - 5 * _A * x**2 + 8 * _A * x - 4 * _A
    return np.where(x <= 1, near, far)
