"""Variables that depend on the image size: which shapes they can have, and how they are resized."""

import keras
import numpy as np
import pytest
import torch

from keras_deit.layers.positions import (
    AbsolutePositions,
    PositionTable,
    resize_positions,
)

GRIDS = [
    *(((14, 14), (24, 24)), ((24, 24), (14, 14)), ((14, 14), (10, 10)), ((6, 6), (4, 9))),
    *(((3, 8), (5, 2)), ((2, 2), (7, 7)), ((1, 1), (3, 3)), ((6, 6), (6, 5)), ((14, 14), (1, 1))),
]


def random_positions(prefix, grid, width=5):
    shape = (1, prefix + grid[0] * grid[1], width)
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def pytorch_resize(grid, target):
    """Resizes (rows, columns, width) in float64 by the call of the authors' fine-tuning code."""
    channels_first = torch.from_numpy(grid.transpose(2, 0, 1).astype("float64"))[None]
    resized = torch.nn.functional.interpolate(
        channels_first, size=target, mode="bicubic", align_corners=False, antialias=False
    )
    return resized[0].numpy().transpose(1, 2, 0)


@pytest.mark.parametrize("prefix", [0, 1, 2])
@pytest.mark.parametrize(("source", "target"), GRIDS, ids=str)
def test_resizing_equals_pytorch_and_keeps_the_prefix(source, target, prefix):
    positions = random_positions(prefix, source)
    resized = resize_positions(positions, source, target)
    assert resized.dtype == np.float32
    np.testing.assert_array_equal(resized[:, :prefix], positions[:, :prefix])
    expected = pytorch_resize(positions[0, prefix:].reshape(*source, -1), target)
    received = resized[0, prefix:].reshape(*target, -1)
    assert np.abs(received - expected).max() <= 1e-6


def test_positions_for_the_same_grid_are_not_copied():
    positions = random_positions(2, (6, 6))
    assert resize_positions(positions, (6, 6), (6, 6)) is positions


def table(grid=(2, 3), prefix=1):
    return AbsolutePositions(keras.Variable(random_positions(prefix, (2, 3))), grid)


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_absolute_positions_of_any_number_of_patches_can_be_resized(prefix):
    positions = table(prefix=prefix)
    for grid in ((1, 1), (3, 2), (4, 4)):
        shape = (1, prefix + grid[0] * grid[1], 5)
        assert positions.shape(grid) == shape and positions.fits(shape)
    value = random_positions(prefix, (4, 4))
    resized = positions.resize(value, (4, 4), (2, 3))
    np.testing.assert_array_equal(resized, resize_positions(value, (4, 4), (2, 3)))


@pytest.mark.parametrize("shape", [(1, 7, 4), (2, 7, 5), (7, 5), (1, 7, 5, 1), ()], ids=str)
def test_other_shapes_are_not_positions_of_any_image_size(shape):
    """The width, the first axis or the rank is impossible."""
    assert not table().fits(shape)
    assert table().square_grid(shape) is None


@pytest.mark.parametrize("grid", [None, (2, 3)])
def test_every_table_takes_its_own_shape(grid):
    positions = table(grid)
    assert positions.fits((1, 7, 5)) and positions.fits((1, 8, 5)) == (grid is not None)


def test_other_tables_are_bound_to_their_shape():
    fixed = PositionTable(keras.Variable(np.ones((6, 6), "float32")), None)
    assert fixed.fits((6, 6)) and not fixed.fits((9, 9))
    with pytest.raises(NotImplementedError):
        fixed.resize(np.ones((9, 9)), (3, 3), (2, 3))


def test_square_grid():
    grids = {length: table().square_grid((1, length, 5)) for length in (0, 1, 2, 3, 16, 17, 197)}
    expected = {0: None, 1: None, 2: (1, 1), 3: None, 16: None, 17: (4, 4), 197: (14, 14)}
    assert grids == expected
