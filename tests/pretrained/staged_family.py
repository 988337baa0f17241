"""Families of a user with several position tables, in two stages of blocks."""

import math

import keras
from keras import ops

from keras_deit.layers import PatchEmbedding, PositionEmbedding
from keras_deit.layers.positions import PositionTable, resize_positions
from keras_deit.models import Classifier
from keras_deit.models.arguments import check_image_size
from keras_deit.models.weight_names import BARE, CONVOLUTION, DENSE

WIDTH = 3


class RelativeBias(PositionTable):
    """A bias ((2·rows − 1)·(2·columns − 1), heads) for every offset between two patches."""

    def shape(self, grid):
        return (math.prod(2 * side - 1 for side in grid), self.variable.shape[1])

    def resize(self, value, source, target):
        source, target = ([2 * side - 1 for side in grid] for grid in (source, target))
        return resize_positions(value[None], tuple(source), tuple(target))[0]


class RelativeMixing(keras.layers.Layer):
    """Mixes the tokens of a grid by weights that depend on their offset alone."""

    def __init__(self, grid, **kwargs):
        super().__init__(**kwargs)
        self.grid = tuple(grid)

    def build(self, input_shape):
        offsets = math.prod(2 * side - 1 for side in self.grid)
        self.bias_table = self.add_weight(shape=(offsets, 1), name="bias_table")

    def call(self, tokens):
        rows, columns = self.grid
        row, column = (ops.reshape(axis, (-1,)) for axis in ops.meshgrid(
            ops.arange(rows), ops.arange(columns), indexing="ij"
        ))  # fmt: skip
        index = (row[:, None] - row + rows - 1) * (2 * columns - 1)
        index = index + column[:, None] - column + columns - 1
        mixing = ops.softmax(ops.take(self.bias_table[:, 0], index, axis=0))
        return tokens + ops.matmul(mixing, tokens)

    def position_tables(self):
        return [RelativeBias(self.bias_table, self.grid)]


class Staged(Classifier):
    """Two stages of two dense layers, the second on half the grid."""

    weight_tables = {
        "authors": {
            "embedding/projection": ("embed", CONVOLUTION),
            "stage_{stage}_positions": ("stages.{stage}.pos", BARE),
            "stage_{stage}_dense_{block}": ("stages.{stage}.blocks.{block}.fc", DENSE),
            "head": ("fc", DENSE),
        }
    }

    def __init__(self, image_size=16, num_classes=4, **kwargs):
        inputs = keras.Input((*check_image_size(image_size, 4), 3))
        embedding = PatchEmbedding(2, WIDTH, name="embedding")
        x, grid = embedding(inputs), embedding.patch_grid(inputs.shape)
        for stage in range(2):
            if stage:
                x = ops.reshape(x, (-1, *grid, WIDTH))[:, ::2, ::2]
                grid = tuple(side // 2 for side in grid)
                x = ops.reshape(x, (-1, math.prod(grid), WIDTH))
            x = self.positions(grid, stage)(x)
            for block in range(2):
                x = keras.layers.Dense(WIDTH, name=f"stage_{stage}_dense_{block}")(x)
        head = keras.layers.Dense(
            num_classes, use_bias=False, kernel_initializer="ones", name="head"
        )  # fmt: skip
        super().__init__(inputs, {"class": head(ops.mean(x, axis=1))}, **kwargs)

    def positions(self, grid, stage):
        return PositionEmbedding(grid, name=f"stage_{stage}_positions")


class Relative(Staged):
    """The same with relative biases."""

    weight_tables = {}

    def positions(self, grid, stage):
        return RelativeMixing(grid, name=f"stage_{stage}_mixing")


class Ungridded(Staged):
    """The same with positions that do not know their grid."""

    def positions(self, grid, stage):
        return PositionEmbedding(name=f"stage_{stage}_positions")
