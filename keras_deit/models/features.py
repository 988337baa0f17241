"""What a model makes of images before its heads."""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from keras_deit.core.errors import InputError, missing_method
from keras_deit.core.image_checks import with_image_checks
from keras_deit.layers.positions import Grid

if TYPE_CHECKING:
    from keras_deit.models.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class Features:
    """The features of a batch of images, tensors of the backend or symbolic ones.

    Attributes:
        tokens: (batch, length, width), after the last layer that has all patches; the class and
            distillation tokens come first, and the patches row by row after them.
        embedding: (batch, width), what the class head takes; with one token per class (batch,
            classes, width).
        grid: rows and columns of these patches; in a model of stages those of the last one.
        intermediates: the patches after some blocks, (batch, rows, columns, width) each, by the
            index of the block. In a model of stages each has the grid of its stage.
    """

    tokens: Any
    embedding: Any
    grid: tuple[int, int]
    intermediates: dict[int, Any]

    @property
    def patches(self):
        """The patches of `tokens` in their grid, (batch, rows, columns, width)."""
        return _in_grid(self.tokens, self.grid)


def forward_features(model: "Classifier", images, intermediates: Sequence[int]) -> Features:
    """Does what `Classifier.forward_features` does."""
    blocks = _chosen(model, intermediates)
    outputs = {index: block.output for index, block in blocks.items()}
    inner = model.feature_model().output
    last, grid = _last_tokens(model)
    graph = keras.Model(model.input, [last, inner, *outputs.values()])
    tokens, embedding, *after = with_image_checks(graph, model.expected_images)(images)
    grids = (stage_grid(model, value, "intermediates") for value in after)
    patches = (_in_grid(value, grid) for value, grid in zip(after, grids, strict=True))
    found = dict(zip(outputs, patches, strict=True))
    return Features(_as_sequence(tokens), embedding, grid, found)


def token_grid(model: "Classifier", tokens) -> Grid | None:
    """Returns rows and columns of the patches among the tokens at some place of a model.

    In a model of stages they become fewer from stage to stage. They are the largest grid of the
    model's layers that the tokens have room for, or a coarser one than all of them, with the same
    number of patches to a token along both sides; None if there is none.

    Args:
        model: a model with a method `patch_grid`.
        tokens: tensor (batch, length, width), class and distillation tokens first, or a grid
            (batch, rows, columns, width).

    Raises:
        InputError: the grid of the patches is not known.
    """
    if len(tokens.shape) == 4:
        return tuple(tokens.shape[1:3])
    length, last = tokens.shape[1], model.patch_grid()
    known = [last, *(x.patch_grid(x.input.shape) for x in model.layers if hasattr(x, "patch_grid"))]
    fitting = [grid for grid in known if math.prod(grid) <= length]
    return max(fitting, key=math.prod) if fitting else _pooled_grid(*last, length)


def _pooled_grid(rows: int, columns: int, length: int) -> Grid | None:
    for side in range(2, min(rows, columns) + 1):
        if not (rows % side or columns % side) and length * side**2 == rows * columns:
            return rows // side, columns // side
    return None


def stage_grid(model: "Classifier", tokens, purpose: str) -> Grid:
    """Does what `token_grid` does, for a purpose that needs a grid.

    Raises:
        InputError: there is none.
    """
    grid = token_grid(model, tokens)
    if grid is None:
        raise missing_method(model, "patch_grid(input_shape) on its poolings", purpose)
    return grid


def _chosen(model: "Classifier", indices: Sequence[int]) -> dict[int, keras.layers.Layer]:
    blocks = model.blocks
    for index in indices:
        if not -len(blocks) <= index < len(blocks):
            raise InputError(
                f"{model.name} has the blocks 0 to {len(blocks) - 1}. Received: "
                f"intermediates={tuple(indices)}"
            )
    return {index: blocks[index] for index in indices}


def _last_tokens(model: "Classifier") -> tuple[keras.KerasTensor, Grid]:
    """Returns the output of the last layer that has all patches of the last block, and its grid."""
    blocks = model.blocks
    rows, columns = (
        stage_grid(model, blocks[-1].output, "forward_features") if blocks else model.patch_grid()
    )
    for layer in reversed(model.layers):
        shape = getattr(layer.output, "shape", ())
        is_sequence = len(shape) == 3 and shape[1] >= rows * columns
        if is_sequence or tuple(shape[1:-1]) == (rows, columns):
            return layer.output, (rows, columns)
    raise missing_method(model, "patch_grid()", "forward_features")


def _as_sequence(tokens):
    if len(tokens.shape) == 3:
        return tokens
    _, rows, columns, width = tokens.shape
    return ops.reshape(tokens, (-1, rows * columns, width))


def _in_grid(tokens, grid: tuple[int, int]):
    if len(tokens.shape) == 4:
        return tokens
    rows, columns = grid
    patches = tokens[:, -rows * columns :]
    return ops.reshape(patches, (-1, rows, columns, tokens.shape[-1]))
