"""What a model makes of images before its heads."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from keras_deit.core.errors import InputError, missing_method

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
        grid: rows and columns of the patches.
        intermediates: the patches after some blocks, (batch, rows, columns, width) each, by the
            index of the block.
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
    graph = keras.Model(model.input, [_last_tokens(model), inner, *outputs.values()])
    tokens, embedding, *after = graph(images)
    grid = model.patch_grid()
    found = dict(zip(outputs, (_in_grid(value, grid) for value in after), strict=True))
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


def _last_tokens(model: "Classifier"):
    """Returns the output of the last layer, from the last block on, that has all patches."""
    rows, columns = model.patch_grid()
    for layer in reversed(model.layers):
        shape = getattr(layer.output, "shape", ())
        is_sequence = len(shape) == 3 and shape[1] >= rows * columns
        if is_sequence or tuple(shape[1:-1]) == (rows, columns):
            return layer.output
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
