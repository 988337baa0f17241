"""The layers of Swin: attention within shifted windows, and merging of patches between stages.

"Swin Transformer: Hierarchical Vision Transformer using Shifted Windows" (Liu et al., 2021), §3.
"""

import math

import keras
import numpy as np
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.layers.activations import ActivationCosts, SavedActivations, traced_activations
from keras_deit.layers.attention import MultiHeadSelfAttention
from keras_deit.layers.dense import Dense
from keras_deit.layers.initializers import dense_initializers, dense_kernel
from keras_deit.layers.introspection import layer_macs
from keras_deit.layers.locality import with_diagonal
from keras_deit.layers.positions import Grid, RelativePositions
from keras_deit.layers.settings import CompositeLayer
from keras_deit.layers.transformer_block import TransformerBlock

# What the authors add to the logits of two tokens that only the roll has brought together.
_APART = -100.0


def window_on(grid: Grid, window_size: int) -> Grid:
    """Returns the sides of the windows on a grid: a window is not larger than the grid.

    Raises:
        InputError: the windows do not divide the grid.
    """
    if any(side > window_size and side % window_size for side in grid):
        rows, columns = grid
        raise InputError(f"Windows of {window_size} do not divide a grid of {rows}×{columns}.")
    return tuple(min(side, window_size) for side in grid)


@keras.saving.register_keras_serializable(package="keras_deit")
class WindowAttention(MultiHeadSelfAttention):
    """Self-attention within windows, with a learned bias for each head and relative position.

    With a shift the windows lie further down and right by so many tokens. The grid is rolled for
    that, and tokens that only the roll has brought together get −100 (§3.2). Along a side of the
    grid that is not longer than a window there is one window and no shift.

    The logits are QKᵀ times its factor, plus the bias, plus −100; LSA replaces the diagonal last.
    The softmax is computed in float32 under every dtype policy.

    Args:
        grid: rows and columns of the tokens.
        window_size: side of a window in tokens.
        shift: less than `window_size`; 0 for no shift.
        qk_scale: factor of QKᵀ; None for 1/√(width of a head). With `lsa` its initial value.
        lsa: whether each head learns its factor and no token attends to itself, see
            `LocalitySelfAttention`.
        dropout_rate: rate of the dropout of attention probabilities.

    The other arguments are those of `MultiHeadSelfAttention`.

    Input and output: tokens (batch, rows·columns, width), row by row.

    Raises:
        InputError: the windows do not divide the grid, or the shift is out of range.
    """

    def __init__(
        self,
        num_heads: int,
        grid: Grid,
        window_size: int = 7,
        shift: int = 0,
        qk_scale: float | None = None,
        lsa: bool = False,
        dropout_rate: float = 0.0,
        **kwargs,
    ):
        super().__init__(num_heads, **kwargs)
        if self.gates or self.kept_inputs or self.kept_outputs:
            raise InputError("The attention in windows has no gates and keeps all channels.")
        if not 0 <= shift < window_size:
            raise InputError(
                f"shift should be 0 or more, and less than window_size {window_size}. "
                f"Received: {shift}"
            )
        self.grid = tuple(grid)
        self.window_size = window_size
        self.shift = shift
        self.qk_scale = qk_scale
        self.lsa = lsa
        self.dropout_rate = dropout_rate
        self.window = window_on(self.grid, window_size)
        self._shifts = tuple(
            shift if side > window else 0
            for side, window in zip(self.grid, self.window, strict=True)
        )

    def build(self, input_shape):
        super().build(input_shape)
        self._factor = self.qk_scale or self._head_dim**-0.5
        if self.lsa:
            self.scale = self.add_weight(
                shape=(self.num_heads,),
                initializer=keras.initializers.Constant(self._factor),
                name="scale",
            )
        index = _relative_index(self.window)
        self.relative_positions = self.add_weight(
            shape=(int(index.max()) + 1, self.num_heads),
            initializer=dense_kernel(),
            name="relative_positions",
        )
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype="float32", name="dropout")
        self._relative_index = index
        self._apart = _apart(self.grid, self.window, self._shifts)

    def call(self, tokens, training=False):
        query, key, value = self._queries_keys_values(tokens)
        maps = self.dropout(self._maps(query, key), training=training)
        attended = ops.matmul(ops.cast(maps, value.dtype), value)
        attended = self._to_grid(ops.transpose(attended, (0, 1, 3, 2, 4)), tokens.shape[1])
        return self.projection(attended) if self.use_projection else attended

    def _queries_keys_values(self, tokens):
        """Returns three tensors (batch, windows, num_heads, length of a window, head_dim)."""
        rolled = _rolled(ops.reshape(tokens, (-1, *self.grid, tokens.shape[-1])), self._shifts)
        windows = _in_windows(rolled, self.window)
        projected = self.qkv(ops.reshape(windows, (-1, *tokens.shape[1:])))
        shape = (-1, *windows.shape[1:3], 3, self.num_heads, self._head_dim)
        return ops.unstack(ops.transpose(ops.reshape(projected, shape), (3, 0, 1, 4, 2, 5)))

    def _maps(self, query, key):
        """Returns the softmax output (batch, windows, heads, queries, keys), float32."""
        factor = ops.cast(self.scale, query.dtype)[:, None, None] if self.lsa else self._factor
        # The query is scaled first because the product could overflow in float16.
        logits = ops.matmul(query * factor, ops.swapaxes(key, -1, -2))
        logits = ops.cast(logits, "float32") + self._bias()
        if self.lsa:
            logits = with_diagonal(logits)
        return ops.softmax(logits)

    def _bias(self):
        """Returns what is added to the logits: (heads or windows, heads; queries, keys)."""
        by_head = ops.transpose(ops.cast(self.relative_positions, "float32"))
        bias = ops.take(by_head, self._relative_index, axis=1)
        return bias if self._apart is None else ops.add(bias, self._apart)

    def _to_grid(self, windows, length: int):
        """Returns tokens (batch, length, width) of what the heads have in each window."""
        counts = (side // size for side, size in zip(self.grid, self.window, strict=True))
        width = self.num_heads * self._head_dim
        cells = ops.reshape(windows, (-1, *counts, *self.window, width))
        rolled = ops.reshape(ops.transpose(cells, (0, 1, 3, 2, 4, 5)), (-1, *self.grid, width))
        back = tuple(-shift for shift in self._shifts)
        return ops.reshape(_rolled(rolled, back), (-1, length, width))

    def attention_probabilities(self, tokens):
        """Returns the softmax output (batch, num_heads, length, length), float32, with zeros for
        tokens of other windows."""
        query, key, _ = self._queries_keys_values(tokens)
        maps = self._maps(query, key)
        length = tokens.shape[1]
        same = np.eye(maps.shape[1], dtype="float32")
        maps = ops.reshape(
            ops.einsum("bwhqk,wv->bhwqvk", maps, same), (-1, self.num_heads, length, length)
        )
        place = np.argsort(_window_order(self.grid, self.window, self._shifts))
        return ops.take(ops.take(maps, place, axis=2), place, axis=3)

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image: the projections, QKᵀ and the sum of V."""
        batch, length, _ = input_shape
        inner = self.num_heads * self._head_dim
        macs = layer_macs(self.qkv, input_shape) + 2 * length * math.prod(self.window) * inner
        if self.use_projection:
            macs += layer_macs(self.projection, (batch, length, inner))
        return macs

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what is saved of one image, without the input."""
        length = input_shape[1]
        tokens = (4 + self.lsa) * length * self.num_heads * self._head_dim / costs.shards
        maps = self.num_heads * length * math.prod(self.window) / costs.shards
        return SavedActivations(tokens, 2 * maps, maps)

    def position_tables(self):
        return [RelativePositions(self.relative_positions, self.window)]

    def no_weight_decay(self):
        return [self.relative_positions]

    def get_config(self):
        return {
            **super().get_config(),
            "grid": self.grid,
            "window_size": self.window_size,
            "shift": self.shift,
            "qk_scale": self.qk_scale,
            "lsa": self.lsa,
            "dropout_rate": self.dropout_rate,
        }


def _relative_index(window: Grid) -> np.ndarray:
    """Returns the row of the table of relative positions for every (query, key) of a window."""
    rows, columns = window
    down, right = (place[:, None] - place for place in np.indices(window).reshape(2, -1))
    return (down + rows - 1) * (2 * columns - 1) + right + columns - 1


def _rolled(grid, shifts: Grid):
    """Rolls (batch, rows, columns, channels) up and left; LiteRT has no operation for that."""
    for axis, shift in enumerate(shifts, start=1):
        if shift:
            parts = ops.split(grid, [shift % grid.shape[axis]], axis=axis)
            grid = ops.concatenate(parts[::-1], axis=axis)
    return grid


def _in_windows(grid, window: Grid, library=ops):
    """Cuts (batch, rows, columns, channels) into (batch, windows, length of a window, channels).

    Args:
        grid: the grid.
        window: rows and columns of a window.
        library: `keras.ops` or NumPy.
    """
    _, rows, columns, channels = grid.shape
    height, width = window
    shape = (-1, rows // height, height, columns // width, width, channels)
    cells = library.transpose(library.reshape(grid, shape), (0, 1, 3, 2, 4, 5))
    windows = rows * columns // (height * width)
    return library.reshape(cells, (-1, windows, height * width, channels))


def _rolled_windows(values: np.ndarray, window: Grid, shifts: Grid) -> np.ndarray:
    """Returns a number for each place of a grid, as (windows, length of a window)."""
    rolled = np.roll(values, [-shift for shift in shifts], axis=(0, 1))
    return _in_windows(rolled[None, ..., None], window, np)[0, ..., 0]


def _window_order(grid: Grid, window: Grid, shifts: Grid) -> np.ndarray:
    """Returns which token of the grid each place of the windows holds."""
    places = np.arange(math.prod(grid)).reshape(grid)
    return _rolled_windows(places, window, shifts).ravel()


def _apart(grid: Grid, window: Grid, shifts: Grid) -> np.ndarray | None:
    """Returns what the roll adds to the logits: (windows, 1, queries, keys); None without shift."""
    if not any(shifts):
        return None
    rows, columns = (np.arange(side) < shift for side, shift in zip(grid, shifts, strict=True))
    region = _rolled_windows(rows[:, None] + 2 * columns, window, shifts)
    different = region[:, None, :, None] != region[:, None, None, :]
    return np.where(different, np.float32(_APART), np.float32(0))


@keras.saving.register_keras_serializable(package="keras_deit")
class SwinBlock(TransformerBlock):
    """A `TransformerBlock` whose self-attention is that within windows.

    Args:
        grid, window_size, shift, qk_scale: see `WindowAttention`.
        attention_dropout_rate: rate of the dropout of attention probabilities.

    The other arguments, except `talking_heads`, are those of `TransformerBlock`.

    Input and output: tokens (batch, rows·columns, width), row by row.

    Raises:
        InputError: the windows do not divide the grid, the shift is out of range, or heads should
            be mixed.
    """

    def __init__(
        self,
        num_heads: int,
        grid: Grid,
        window_size: int = 7,
        shift: int = 0,
        qk_scale: float | None = None,
        attention_dropout_rate: float = 0.0,
        **kwargs,
    ):
        super().__init__(num_heads, **kwargs)
        if self.talking_heads:
            raise InputError("A SwinBlock has no talking heads.")
        self.grid = tuple(grid)
        self.window_size = window_size
        self.shift = shift
        self.qk_scale = qk_scale
        self.attention_dropout_rate = attention_dropout_rate

    def _attention(self, suffix):
        return WindowAttention(
            self.num_heads,
            self.grid,
            self.window_size,
            self.shift,
            self.qk_scale,
            self.lsa,
            self.attention_dropout_rate,
            qkv_bias=self.qkv_bias,
            head_dim=self.head_dim,
            kernel_init=self.kernel_init,
            use_projection=self.use_projection,
            dtype=self.dtype_policy,
            name=f"attention{suffix}",
        )

    def get_config(self):
        return {
            **super().get_config(),
            "grid": self.grid,
            "window_size": self.window_size,
            "shift": self.shift,
            "qk_scale": self.qk_scale,
            "attention_dropout_rate": self.attention_dropout_rate,
        }


@keras.saving.register_keras_serializable(package="keras_deit")
class PatchMerging(CompositeLayer):
    """Turns every 2×2 tokens of a grid into one, by a norm and a dense layer without bias (§3.1).

    The four are concatenated column by column, as in the authors' code.

    Args:
        embed_dim: width of the tokens after it.
        grid: rows and columns of the tokens before it, even numbers.
        kernel_init: initial values of the dense layer, as `dense_initializers` takes them.

    Input: tokens (batch, rows·columns, width), row by row.
    Output: tokens (batch, rows/2·columns/2, embed_dim).

    Raises:
        InputError: a side of the grid is odd.
    """

    def __init__(self, embed_dim: int, grid: Grid, kernel_init: str = "normal", **kwargs):
        super().__init__(**kwargs)
        if any(side % 2 for side in grid):
            raise InputError(f"Patches of even sides are merged. Received: {grid[0]}×{grid[1]}")
        self.embed_dim = embed_dim
        self.grid = tuple(grid)
        self.kernel_init = kernel_init

    def build(self, input_shape):
        batch, length, width = input_shape
        merged = (batch, length // 4, 4 * width)
        initial = dense_initializers(self.kernel_init, 4 * width)
        self.norm = keras.layers.LayerNormalization(
            epsilon=1e-5, dtype=self.dtype_policy, name="norm"
        )
        self.projection = Dense(
            self.embed_dim,
            use_bias=False,
            kernel_initializer=initial["kernel_initializer"],
            dtype=self.dtype_policy,
            name="projection",
        )
        self.norm.build(merged)
        self.projection.build(merged)

    def call(self, tokens):
        (rows, columns), (length, width) = self.grid, tokens.shape[1:]
        cells = ops.reshape(tokens, (-1, rows // 2, 2, columns // 2, 2, width))
        merged = ops.reshape(ops.transpose(cells, (0, 1, 3, 4, 2, 5)), (-1, length // 4, 4 * width))
        return self.projection(self.norm(merged))

    def patch_grid(self, input_shape) -> tuple[int, int]:
        """Returns rows and columns of the tokens after it."""
        rows, columns = self.grid
        return rows // 2, columns // 2

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what the layers and operations inside save of one image."""
        return traced_activations(self, input_shape, costs)

    def compute_output_shape(self, input_shape):
        batch, length, _ = input_shape
        return (batch, length // 4, self.embed_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "embed_dim": self.embed_dim,
            "grid": self.grid,
            "kernel_init": self.kernel_init,
        }
