"""Self-attention whose queries, keys, values and probabilities are binary."""

import math

import keras
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.layers.activations import ActivationCosts, SavedActivations
from keras_deit.layers.attention import head_width
from keras_deit.layers.binary import (
    BinaryUnit,
    RPReLU,
    exact_policy,
    sign,
    straight_through,
    token_norm,
)
from keras_deit.layers.introspection import traced_macs
from keras_deit.layers.settings import CompositeLayer

# The initial value that a probability has if it is not 0.
_STEP = 0.005
# The arrays of the size of the attention maps that a training step on JAX saves, as measured.
_MAP_ARRAYS = 5


def binary_probabilities(probabilities, step):
    """Returns a·clip(round(p/a), 0, 1) of probabilities p and a step a: 0 up to a/2, then a.

    The gradient of p goes through where 0 ≤ p/a ≤ 1. That of a is round(p/a) − p/a there, and 1
    above ("BiT: Robustly Binarized Multi-distilled Transformer", Liu et al., 2022, §2.2).
    """
    ratio = probabilities / step
    rounded = ops.round(ratio)
    within = ops.cast(ops.logical_and(ratio >= 0, ratio <= 1), ratio.dtype)
    above = ops.cast(ratio > 1, ratio.dtype)
    slope = ops.stop_gradient(within * (rounded - ratio) + above)
    smooth = ops.stop_gradient(within) * probabilities + slope * step
    return straight_through(step * ops.clip(rounded, 0.0, 1.0), smooth)


@keras.saving.register_keras_serializable(package="keras_deit")
class BinaryAttention(CompositeLayer):
    """Multi-head self-attention of BinaryViT, without the projection behind it.

    Queries, keys and values are binary units of the tokens, of which the signs are taken after one
    more learned shift. Of the softmax of their products, in full precision, each probability
    becomes 0 or a learned step. What the heads gather is normalized; queries, keys and values
    before their signs are added; RPReLU follows.

    With a reduction r the keys and values are those of the means of r×r tokens, after a binary unit
    of their own; the nearest ones are added.

    Args:
        num_heads: number of heads; it divides the width of the tokens.
        grid: rows and columns of the tokens; needed for a reduction.
        reduction: side of the squares of tokens that share a key and a value.
        norm: the norms, as `token_norm` takes it.
        dropout_rate: rate of the dropout of probabilities.

    Input and output: tokens (batch, length, width).

    Raises:
        InputError: the sizes do not fit each other.
    """

    def __init__(
        self,
        num_heads: int,
        grid: tuple[int, int] | None = None,
        reduction: int = 1,
        norm: str = "batch",
        dropout_rate: float = 0.0,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.num_heads = num_heads
        self.grid = None if grid is None else tuple(grid)
        self.reduction = reduction
        self.norm = norm
        self.dropout_rate = dropout_rate

    def build(self, input_shape):
        batch, length, width = input_shape
        self._head_dim = head_width(width, self.num_heads)
        reduced = (batch, self._reduced_length(length), width)
        policy = exact_policy(self)
        self.query, self.key, self.value = (
            BinaryUnit(width, self.norm, dtype=policy, name=name)
            for name in ("query", "key", "value")
        )
        if self.reduction > 1:
            self.reduced = BinaryUnit(width, self.norm, dtype=policy, name="reduced")
            self.reduced.build(reduced)
        self.context_norm = token_norm(self.norm, policy, "context_norm")
        self.context_activation = RPReLU(dtype=policy, name="context_activation")
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=policy, name="dropout")
        for layer in (self.query, self.context_norm, self.context_activation):
            layer.build(input_shape)
        self.key.build(reduced)
        self.value.build(reduced)
        self.query_shift, self.key_shift, self.value_shift = (
            self.add_weight(shape=(width,), initializer="zeros", autocast=False, name=name)
            for name in ("query_shift", "key_shift", "value_shift")
        )
        self.step = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(_STEP),
            autocast=False,
            name="step",
        )

    def _reduced_length(self, length: int) -> int:
        if self.reduction == 1:
            return length
        rows, columns = self.grid or (0, 0)
        if rows * columns != length or rows % self.reduction or columns % self.reduction:
            raise InputError(
                f"{self.name} needs a grid of the {length} tokens whose sides are multiples of the "
                f"reduction {self.reduction}. Received: grid={self.grid}"
            )
        return length // self.reduction**2

    def call(self, tokens):
        query, key, value = self._queries_keys_values(tokens)
        probabilities = self.dropout(self._probabilities(query, key))
        attended = ops.matmul(probabilities, self._heads(value, self.value_shift))
        context = ops.reshape(ops.transpose(attended, (0, 2, 1, 3)), ops.shape(query))
        added = query + self._nearest(key) + self._nearest(value)
        context = self.context_activation(self.context_norm(context) + added)
        return ops.cast(context, self.compute_dtype)

    def _queries_keys_values(self, tokens):
        tokens = ops.cast(tokens, self.variable_dtype)
        query = self.query(tokens)
        if self.reduction > 1:
            tokens = self.reduced(self._means(tokens))
        return query, self.key(tokens), self.value(tokens)

    def _means(self, tokens):
        rows, columns = (side // self.reduction for side in self.grid)
        width = tokens.shape[-1]
        squares = (-1, rows, self.reduction, columns, self.reduction, width)
        means = ops.mean(ops.reshape(tokens, squares), axis=(2, 4))
        return ops.reshape(means, (-1, rows * columns, width))

    def _nearest(self, tokens):
        """Returns the reduced tokens at the places of those that they are the means of."""
        if self.reduction == 1:
            return tokens
        return self._repeated(tokens, tokens.shape[-1])

    def _repeated(self, tokens, width: int):
        rows, columns = (side // self.reduction for side in self.grid)
        grid = ops.reshape(tokens, (-1, rows, columns, width))
        for axis in (1, 2):
            grid = ops.repeat(grid, self.reduction, axis=axis)
        return ops.reshape(grid, (-1, math.prod(self.grid), width))

    def spread(self, maps):
        """Returns maps of reduced keys (batch, heads, queries, keys) with each key's value divided
        among the tokens that it is the mean of: (batch, heads, queries, length)."""
        _, heads, queries, keys = maps.shape
        length = math.prod(self.grid)
        spread = self._repeated(ops.reshape(maps, (-1, keys, 1)), 1) / self.reduction**2
        return ops.reshape(spread, (-1, heads, queries, length))

    def _heads(self, tokens, shift):
        """Returns the signs of shifted tokens, (batch, heads, length, head_dim)."""
        shape = (-1, tokens.shape[1], self.num_heads, self._head_dim)
        return ops.transpose(ops.reshape(sign(tokens + shift), shape), (0, 2, 1, 3))

    def _probabilities(self, query, key):
        query, key = self._heads(query, self.query_shift), self._heads(key, self.key_shift)
        products = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
        return binary_probabilities(ops.softmax(products * self._head_dim**-0.5), self.step)

    def attention_probabilities(self, tokens):
        """Returns the binary probabilities (batch, heads, queries, keys), float32."""
        query, key, _ = self._queries_keys_values(tokens)
        return ops.cast(self._probabilities(query, key), "float32")

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image."""
        return traced_macs(self, input_shape)

    def binary_macs(self, input_shape) -> int:
        """Returns those multiply-adds of binary numbers for one image: all."""
        return self.macs(input_shape)

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what is saved of one image: by the units, the context twice, and maps."""
        batch, length, width = input_shape
        keys = self._reduced_length(length)
        units = self.query.saved_activations(input_shape, costs)
        for _ in range(2 + (self.reduction > 1)):
            units += self.key.saved_activations((batch, keys, width), costs)
        maps = self.num_heads * length * keys
        return units + SavedActivations(2 * length * width, _MAP_ARRAYS * maps, maps)

    def model_parallel_axes(self):
        units = [self.query, self.key, self.value]
        return [split for unit in units for split in unit.column_parallel()]

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "grid": self.grid,
            "reduction": self.reduction,
            "norm": self.norm,
            "dropout_rate": self.dropout_rate,
        }
