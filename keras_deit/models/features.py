"""What a model makes of images before its heads."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from keras_deit.core.errors import InputError, missing_method

if TYPE_CHECKING:
    from keras_deit.models.classifier import Classifier

# The class and the distillation token, which come before the patches.
_TOKENS = 2


@dataclasses.dataclass(frozen=True)
class Features:
    """The features of a batch of images, tensors of the backend or symbolic ones.

    Attributes:
        tokens: (batch, length, width), after the last layer that has all patches; the class and
            distillation tokens come first, and the patches row by row after them.
        embedding: (batch, width), what the class head takes; with one token per class (batch,
            classes, width).
        grid: rows and columns of the patches of `tokens`, which are those of the last stage.
        intermediates: the patches after some blocks, (batch, rows, columns, width) each, by the
            index of the block; those of an earlier stage have a finer grid.
    """

    tokens: Any
    embedding: Any
    grid: tuple[int, int]
    intermediates: dict[int, Any]

    @property
    def patches(self):
        """The patches of `tokens` in their grid, (batch, rows, columns, width)."""
        return _in_grid(self.tokens, self.grid)


def stage_grid(model: "Classifier", length: int) -> tuple[int, int] | None:
    """Returns the grid of the patches among the tokens of a block.

    It is that of the model, or in a later stage one whose sides divide it; class and distillation
    tokens may come before the patches. None if it is not known.

    Args:
        model: the model.
        length: number of the tokens.
    """
    rows, columns = model.patch_grid()
    if length >= rows * columns:
        return rows, columns
    for side in range(2, min(rows, columns) + 1):
        patches = rows * columns // side**2
        if not (rows % side or columns % side) and 0 <= length - patches <= _TOKENS:
            return rows // side, columns // side
    return None


def forward_features(model: "Classifier", images, intermediates: Sequence[int]) -> Features:
    """Does what `Classifier.forward_features` does."""
    blocks = _chosen(model, intermediates)
    outputs = {index: block.output for index, block in blocks.items()}
    inner = model.feature_model().output
    last, grid = _last_tokens(model)
    graph = keras.Model(model.input, [last, inner, *outputs.values()])
    tokens, embedding, *after = graph(images)
    grids = (_known_grid(model, value) for value in after)
    found = {
        index: _in_grid(value, known)
        for index, value, known in zip(outputs, after, grids, strict=True)
    }
    return Features(_as_sequence(tokens), embedding, grid, found)


def _chosen(model: "Classifier", indices: Sequence[int]) -> dict[int, keras.layers.Layer]:
    blocks = model.blocks
    for index in indices:
        if not -len(blocks) <= index < len(blocks):
            raise InputError(
                f"{model.name} has the blocks 0 to {len(blocks) - 1}. Received: "
                f"intermediates={tuple(indices)}"
            )
    return {index: blocks[index] for index in indices}


def _known_grid(model: "Classifier", tokens) -> tuple[int, int]:
    """Returns the grid of tokens, or of a map."""
    shape = tuple(tokens.shape)
    grid = shape[1:3] if len(shape) == 4 else stage_grid(model, shape[1])
    if grid is None:
        raise missing_method(model, "patch_grid()", "forward_features")
    return grid


def _last_tokens(model: "Classifier") -> tuple:
    """Returns the output of the last layer that has all patches of the last block, and its grid."""
    blocks = model.blocks
    rows, columns = _known_grid(model, blocks[-1].output) if blocks else model.patch_grid()
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
