"""SPT: tokens that see beyond the border of their patch.

"Vision Transformer for Small-Size Datasets" (Lee et al., 2021), §3.2.
"""

import math

import keras
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.layers.activations import ActivationCosts, SavedActivations, traced_activations
from keras_deit.layers.dense import Dense
from keras_deit.layers.initializers import dense_initializers
from keras_deit.layers.settings import CompositeLayer

# The map itself and four copies of it.
_COPIES = 5


def shift_and_concatenate(grid, shift: int):
    """Returns a map beside four copies of it, which are shifted diagonally, with zeros outside.

    The copies follow the map on the channels and are shifted by `shift` pixels down and right,
    down and left, up and right, up and left: what is left-up of a pixel comes first.

    Args:
        grid: (batch, height, width, channels).
        shift: pixels, 1 or more.

    Returns:
        (batch, height, width, 5·channels).
    """
    height, width = grid.shape[1:3]
    padded = ops.pad(grid, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    copies = [
        padded[:, row : row + height, column : column + width]
        for row in (0, 2 * shift)
        for column in (0, 2 * shift)
    ]
    return ops.concatenate([grid, *copies], axis=-1)


def flat_patches(grid, side: int):
    """Cuts a map into patches, flattened in the order (row, column, channel)."""
    _, height, width, channels = grid.shape
    rows, columns = height // side, width // side
    cut = grid[:, : rows * side, : columns * side]
    cut = ops.reshape(cut, (-1, rows, side, columns, side, channels))
    return ops.reshape(
        ops.transpose(cut, (0, 1, 3, 2, 4, 5)), (-1, rows * columns, side**2 * channels)
    )


class _ShiftedPatches(CompositeLayer):
    """Norm and dense layer that follow the shift, shared by the two layers below."""

    def _build_merging(self, shape, width: int):
        self.norm = keras.layers.LayerNormalization(
            epsilon=1e-5, dtype=self.dtype_policy, name="norm"
        )
        self.projection = Dense(
            width,
            **dense_initializers(self.kernel_init, shape[-1]),
            dtype=self.dtype_policy,
            name="projection",
        )
        self.norm.build(shape)
        self.projection.build(shape)

    def _merged(self, grid, side: int):
        patches = flat_patches(shift_and_concatenate(grid, side // 2), side)
        return self.projection(self.norm(patches))

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what the layers and operations inside save of one image."""
        return traced_activations(self, input_shape, costs)


@keras.saving.register_keras_serializable(package="keras_deit")
class ShiftedPatchTokenization(_ShiftedPatches):
    """SPT in place of the patch embedding (§3.2).

    The image and four copies of it, shifted by half a patch along the diagonals, are cut into
    patches together; each is normalized and projected to a token.

    Args:
        patch_size: side of a patch in pixels, 2 or more.
        embed_dim: width of a token.
        kernel_init: initial values of the projection, as `dense_initializers` takes them.

    Input: images (batch, height, width, channels).
    Output: tokens (batch, height//patch_size · width//patch_size, embed_dim), row by row.

    Raises:
        InputError: `patch_size` is 1, of which there is no half.
    """

    def __init__(self, patch_size: int, embed_dim: int, kernel_init: str = "normal", **kwargs):
        super().__init__(**kwargs)
        if patch_size < 2:
            raise InputError(f"patch_size should be 2 or more for SPT. Received: {patch_size}")
        self.patch_size = patch_size
        self.embed_dim = embed_dim
        self.kernel_init = kernel_init

    def build(self, input_shape):
        features = _COPIES * input_shape[-1] * self.patch_size**2
        tokens = self.compute_output_shape(input_shape)[1]
        self._build_merging((input_shape[0], tokens, features), self.embed_dim)

    def call(self, images):
        return self._merged(images, self.patch_size)

    def patch_grid(self, input_shape) -> tuple[int, int]:
        """Returns rows and columns of the patches."""
        _, height, width, _ = input_shape
        return height // self.patch_size, width // self.patch_size

    def compute_output_shape(self, input_shape):
        return (input_shape[0], math.prod(self.patch_grid(input_shape)), self.embed_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "patch_size": self.patch_size,
            "embed_dim": self.embed_dim,
            "kernel_init": self.kernel_init,
        }


@keras.saving.register_keras_serializable(package="keras_deit")
class ShiftedPatchPooling(_ShiftedPatches):
    """SPT as the pooling between the stages of a hierarchical model (§3.2).

    Four neighbors become one token, as `ShiftedPatchTokenization` does with patches of 2×2 tokens.

    Args:
        embed_dim: width of the tokens after it.
        grid: rows and columns of the tokens before it, even numbers.
        class_token: whether the first token is the class token, which has a dense layer of its own.
        kernel_init: initial values of the dense layers, as `dense_initializers` takes them.

    Input: tokens (batch, rows·columns, width), or one more with a class token, row by row.
    Output: tokens (batch, rows/2·columns/2, embed_dim), or one more.

    Raises:
        InputError: a side of the grid is odd.
    """

    def __init__(
        self,
        embed_dim: int,
        grid: tuple[int, int],
        class_token: bool = False,
        kernel_init: str = "normal",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if any(side % 2 for side in grid):
            raise InputError(f"SPT pools a grid of even sides. Received: {grid[0]}×{grid[1]}")
        self.embed_dim = embed_dim
        self.grid = tuple(grid)
        self.class_token = class_token
        self.kernel_init = kernel_init

    def build(self, input_shape):
        batch, _, width = input_shape
        length = self.grid[0] * self.grid[1] // 4
        self._build_merging((batch, length, _COPIES * 4 * width), self.embed_dim)
        if self.class_token:
            self.class_projection = Dense(
                self.embed_dim,
                **dense_initializers(self.kernel_init, width),
                dtype=self.dtype_policy,
                name="class_projection",
            )
            self.class_projection.build((batch, 1, width))

    def call(self, tokens):
        patches = tokens[:, 1:] if self.class_token else tokens
        pooled = self._merged(ops.reshape(patches, (-1, *self.grid, tokens.shape[-1])), 2)
        if not self.class_token:
            return pooled
        return ops.concatenate([self.class_projection(tokens[:, :1]), pooled], axis=1)

    def patch_grid(self, input_shape) -> tuple[int, int]:
        """Returns rows and columns of the tokens after it."""
        rows, columns = self.grid
        return rows // 2, columns // 2

    def compute_output_shape(self, input_shape):
        length = self.grid[0] * self.grid[1] // 4 + self.class_token
        return (input_shape[0], length, self.embed_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "embed_dim": self.embed_dim,
            "grid": self.grid,
            "class_token": self.class_token,
            "kernel_init": self.kernel_init,
        }
