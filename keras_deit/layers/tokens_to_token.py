"""T2T: tokens that are made of overlapping tokens.

"Tokens-to-Token ViT" (Yuan et al., 2021), as the authors of "Vision Transformer for Small-Size
Datasets" (Lee et al., 2021) wrote it: github.com/aanna0701/SPT_LSA_ViT, models/t2t.py.
"""

import math

import keras
import numpy as np
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.core.fused_attention import dot_product_attention
from keras_deit.layers.activations import NOTHING, ActivationCosts, SavedActivations
from keras_deit.layers.attention import head_width
from keras_deit.layers.block import Block
from keras_deit.layers.dense import Dense
from keras_deit.layers.initializers import dense_initializers
from keras_deit.layers.introspection import column_parallel, row_parallel
from keras_deit.layers.locality import with_diagonal
from keras_deit.layers.mlp import MLP
from keras_deit.layers.positions import AbsolutePositions, Grid
from keras_deit.layers.residual import StochasticDepth
from keras_deit.layers.settings import CompositeLayer


@keras.saving.register_keras_serializable(package="keras_deit")
class SoftSplit(keras.layers.Layer):
    """Makes a token of every 3×3 neighbors, two steps apart, with zeros outside (T2T-ViT §3.1).

    A token has the order (channel, row, column), the column fastest, unlike the patches of other
    layers.

    Args:
        grid: rows and columns of the tokens before it; None if it takes images.

    Input: images (batch, rows, columns, channels), or tokens (batch, rows·columns, channels) row by
    row.
    Output: tokens (batch, ⌈rows/2⌉·⌈columns/2⌉, 9·channels), row by row.
    """

    def __init__(self, grid: Grid | None = None, **kwargs):
        super().__init__(**kwargs)
        self.grid = None if grid is None else tuple(grid)
        self.built = True

    def call(self, inputs):
        grid = inputs
        if self.grid is not None:
            grid = ops.reshape(inputs, (-1, *self.grid, inputs.shape[-1]))
        rows, columns = self.patch_grid(inputs.shape)
        padded = ops.pad(grid, ((0, 0), (1, 1), (1, 1), (0, 0)))
        neighbors = [
            padded[:, row : row + 2 * rows - 1 : 2, column : column + 2 * columns - 1 : 2]
            for row in range(3)
            for column in range(3)
        ]
        channels = inputs.shape[-1]
        return ops.reshape(ops.stack(neighbors, axis=-1), (-1, rows * columns, 9 * channels))

    def patch_grid(self, input_shape) -> Grid:
        """Returns rows and columns of the tokens after it."""
        rows, columns = self.grid or input_shape[1:3]
        return -(-rows // 2), -(-columns // 2)

    def macs(self, input_shape) -> int:
        """Returns 0: it only copies."""
        return 0

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns nothing."""
        return NOTHING

    def compute_output_shape(self, input_shape):
        length = math.prod(self.patch_grid(input_shape))
        return (input_shape[0], length, 9 * input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "grid": self.grid}


@keras.saving.register_keras_serializable(package="keras_deit")
class T2TAttention(CompositeLayer):
    """Self-attention that adds its input to its output, or its values if it has one head.

    The factor of QKᵀ comes from the width of the input, not from that of the heads. The softmax is
    computed in float32 under every dtype policy.

    Args:
        num_heads: number of heads.
        embed_dim: width of queries, keys, values and of the output; None for that of the input,
            which it has to be with more than one head.
        qkv_bias: whether queries, keys and values have a bias.
        qk_scale: factor of QKᵀ; None for 1/√(width of the input / `num_heads`).
        lsa: whether it is locality self-attention: the factor is learned for each head, and no
            token attends to itself, see `LocalitySelfAttention`.
        dropout_rate: rate of the dropout after the projection.

    Input: tokens (batch, length, width). Output: tokens (batch, length, `embed_dim`).

    Raises:
        InputError: the widths do not fit each other.
    """

    def __init__(
        self,
        num_heads: int,
        embed_dim: int | None = None,
        qkv_bias: bool = False,
        qk_scale: float | None = None,
        lsa: bool = False,
        dropout_rate: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.embed_dim = embed_dim
        self.qkv_bias = qkv_bias
        self.qk_scale = qk_scale
        self.lsa = lsa
        self.dropout_rate = dropout_rate

    def build(self, input_shape):
        width = input_shape[-1]
        self._width = self.embed_dim or width
        if self.num_heads > 1 and self._width != width:
            raise InputError(
                f"A {type(self).__name__} of {self.num_heads} heads adds its input to its output, "
                f"which have to be of one width. Received: {width} and {self._width}"
            )
        self._head_dim = head_width(self._width, self.num_heads)
        self._factor = self.qk_scale or (width // self.num_heads) ** -0.5
        if self.lsa:
            self.scale = self.add_weight(
                shape=(self.num_heads,),
                initializer=keras.initializers.Constant(self._factor),
                name="scale",
            )
        self.qkv = self._dense(width, 3 * self._width, "qkv", use_bias=self.qkv_bias)
        self.projection = self._dense(self._width, self._width, "projection")
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=self.dtype_policy)
        self.qkv.build(input_shape)
        self.projection.build((*input_shape[:-1], self._width))

    def _dense(self, inputs, outputs, name, **options):
        initial = dense_initializers("normal", inputs)
        return Dense(outputs, **initial, **options, dtype=self.dtype_policy, name=name)

    def call(self, tokens):
        added, main = self.branch(tokens)
        return main + added

    def branch(self, tokens):
        """Returns the two tensors whose sum is the output: what is attended to, and what it is
        added to."""
        query, key, value = self._queries_keys_values(tokens)
        if self.lsa:
            maps = ops.cast(self._probabilities(query, key), value.dtype)
            attended = ops.einsum("bhqk,bkhd->bqhd", maps, value)
        else:
            attended = dot_product_attention(query, key, value, self._factor)
        merged = (-1, tokens.shape[1], self._width)
        projected = self.projection(ops.reshape(attended, merged))
        main = ops.reshape(value, merged) if self.num_heads == 1 else tokens
        return self.dropout(projected), main

    def attention_probabilities(self, tokens):
        """Returns the softmax output (batch, num_heads, length, length), float32."""
        query, key, _ = self._queries_keys_values(tokens)
        return self._probabilities(query, key)

    def _queries_keys_values(self, tokens):
        shape = (-1, tokens.shape[1], 3, self.num_heads, self._head_dim)
        return ops.unstack(ops.reshape(self.qkv(tokens), shape), axis=2)

    def _probabilities(self, query, key):
        factor = ops.cast(self.scale, query.dtype)[:, None] if self.lsa else self._factor
        logits = ops.cast(ops.einsum("bqhd,bkhd->bhqk", query * factor, key), "float32")
        if self.lsa:
            logits = with_diagonal(logits)
        return ops.softmax(logits)

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what is saved of one image, without the input."""
        length = input_shape[1]
        maps = self.num_heads * length**2 / costs.shards
        copies = 5 if self.lsa else 3 + costs.attended
        tokens = SavedActivations(copies * length * self._width / costs.shards)
        masks = SavedActivations(float32=length * self._width / 4 * (self.dropout_rate > 0))
        # Keras computes product, exponential and softmax of LSA as separate operations.
        of_maps = SavedActivations(0, 3 * maps, maps) if self.lsa else costs.attention_maps(maps)
        return tokens + masks + of_maps

    def model_parallel_axes(self):
        return column_parallel(self.qkv) + row_parallel(self.projection)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.embed_dim or input_shape[-1])

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "embed_dim": self.embed_dim,
            "qkv_bias": self.qkv_bias,
            "qk_scale": self.qk_scale,
            "lsa": self.lsa,
            "dropout_rate": self.dropout_rate,
        }


@keras.saving.register_keras_serializable(package="keras_deit")
class T2TBlock(Block):
    """x + D(Attention(LN(x))), then x + D(MLP(LN(x))), with the attention of T2T.

    D is stochastic depth. The attention itself adds its normalized input to its output. A block
    that changes the width, a token transformer (T2T-ViT §3.1), has no x and no D in its first half.

    Args:
        num_heads: number of heads.
        embed_dim: width of the output of a token transformer; None for a block that keeps the
            width and adds its input.
        mlp_ratio: hidden width of the MLP divided by that of the output.
        qkv_bias: whether queries, keys and values have a bias.
        qk_scale: factor of QKᵀ, see `T2TAttention`.
        lsa: whether the attention is locality self-attention.
        drop_path_rate: rate of the stochastic depth, which is drawn for each branch by itself.
        dropout_rate: rate of the dropout after the attention's projection and after both layers of
            the MLP.

    Input: tokens (batch, length, width). Output: tokens of the same width, or `embed_dim`.
    """

    supports_activation_checkpointing = True

    def __init__(
        self,
        num_heads: int,
        embed_dim: int | None = None,
        mlp_ratio: float = 2.0,
        qkv_bias: bool = False,
        qk_scale: float | None = None,
        lsa: bool = False,
        drop_path_rate: float = 0.0,
        dropout_rate: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.embed_dim = embed_dim
        self.mlp_ratio = mlp_ratio
        self.qkv_bias = qkv_bias
        self.qk_scale = qk_scale
        self.lsa = lsa
        self.drop_path_rate = drop_path_rate
        self.dropout_rate = dropout_rate

    def build(self, input_shape):
        policy = self.dtype_policy
        width = self.embed_dim or input_shape[-1]
        self.norm1, self.norm2 = (
            keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name=f"norm{number}")
            for number in (1, 2)
        )
        self.attention = T2TAttention(
            self.num_heads,
            self.embed_dim,
            self.qkv_bias,
            self.qk_scale,
            self.lsa,
            self.dropout_rate,
            dtype=policy,
            name="attention",
        )
        self.mlp = MLP(int(width * self.mlp_ratio), self.dropout_rate, dtype=policy, name="mlp")
        self.drop_path1, self.drop_path2 = (
            StochasticDepth(self.drop_path_rate, dtype=policy, name=f"drop_path{number}")
            for number in (1, 2)
        )
        for layer in (self.norm1, self.attention):
            layer.build(input_shape)
        for layer in (self.norm2, self.mlp):
            layer.build((*input_shape[:-1], width))

    def call(self, tokens, training=False):
        return self.checkpointed(self._forward, tokens, training)

    def _forward(self, tokens):
        added, main = self._attention_branch(tokens)
        tokens = main + added
        return tokens + self.drop_path2(self.mlp(self.norm2(tokens)))

    def _attention_branch(self, tokens):
        """Returns what the first half adds, and what it is added to."""
        if self.embed_dim is not None:
            return self.attention.branch(self.norm1(tokens))
        return self.drop_path1(self.attention(self.norm1(tokens))), tokens

    def residual_branches(self, tokens):
        """Returns what each branch adds, and what it is added to: in the first half of a token
        transformer these are its values."""
        added, main = self._attention_branch(tokens)
        tokens = main + added
        return {
            "attention": (added, main),
            "mlp": (self.drop_path2(self.mlp(self.norm2(tokens))), tokens),
        }

    def attention_maps(self, tokens):
        """Returns the attention probabilities (batch, heads, length, length), float32."""
        return self.attention.attention_probabilities(self.norm1(tokens))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.embed_dim or input_shape[-1])

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "embed_dim": self.embed_dim,
            "mlp_ratio": self.mlp_ratio,
            "qkv_bias": self.qkv_bias,
            "qk_scale": self.qk_scale,
            "lsa": self.lsa,
            "drop_path_rate": self.drop_path_rate,
            "dropout_rate": self.dropout_rate,
        }


def sinusoids(length: int, width: int) -> np.ndarray:
    """Returns the fixed positions of T2T: sin(p / 10000^(j/width)) in even columns j, and in the
    next ones the cosine of the same ("Attention Is All You Need", Vaswani et al., 2017, §3.5).

    Returns:
        float32 (1, length, width).
    """
    columns = np.arange(width)
    angles = np.arange(length)[:, None] / 10000 ** (2 * (columns // 2) / width)
    return np.where(columns % 2, np.cos(angles), np.sin(angles)).astype("float32")[None]


class FixedPositions(AbsolutePositions):
    """Positions (1, prefix + rows·columns, width) that are a function of place and width."""

    def resize(self, value: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
        length = value.shape[1] - math.prod(source) + math.prod(target)
        return sinusoids(length, value.shape[2])


@keras.saving.register_keras_serializable(package="keras_deit")
class SinusoidalPositions(keras.layers.Layer):
    """Adds `sinusoids` to the tokens, which are weights that are not trained: files have them.

    Args:
        grid: rows and columns of the patches, which are the last rows·columns tokens. Needed to
            load weights for another image size.

    Input and output: tokens (batch, length, width).
    """

    def __init__(self, grid: Grid | None = None, **kwargs):
        super().__init__(**kwargs)
        self.grid = None if grid is None else tuple(grid)

    def build(self, input_shape):
        table = sinusoids(*input_shape[1:])
        self.positions = self.add_weight(
            shape=table.shape,
            initializer=lambda shape, dtype: ops.convert_to_tensor(table, dtype),
            trainable=False,
            name="positions",
        )

    def call(self, tokens):
        return tokens + self.positions

    def position_tables(self):
        return [FixedPositions(self.positions, self.grid)]

    def macs(self, input_shape) -> int:
        """Returns 0: the table is in no matrix product."""
        return 0

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns nothing."""
        return NOTHING

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "grid": self.grid}
