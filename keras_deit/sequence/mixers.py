"""What mixes the positions of a sequence: attention, or a linear layer over positions.

Each works on a whole sequence, and on one position after the other with what it has to remember of
those before, its cache. Both ways compute the same.
"""

import keras
from keras import ops

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.layers.dense import Dense
from keras_deit.layers.settings import CompositeLayer

MIXERS = ("attention", "linear")
# Added to the logits of positions that an attention leaves out.
_EXCLUDED = -1e9


def check_mixer(mixer: str) -> None:
    """Checks that there is a mixer of this name.

    Raises:
        InputError: there is none.
    """
    if mixer not in MIXERS:
        raise unknown_name("mixer of positions", mixer, MIXERS)


def check_heads(width: int, num_heads: int) -> None:
    """Checks that the heads of an attention can have the same width.

    Raises:
        InputError: they cannot.
    """
    if width % num_heads:
        raise InputError(f"{num_heads} heads do not divide the width {width} evenly.")


@keras.saving.register_keras_serializable(package="keras_deit")
class LinearMixing(keras.layers.Layer):
    """Mixes positions by one matrix, the same for all channels (ResMLP, §4.3.5 of the thesis).

    y[i] = Σ_j A[i, j]·x[j] + b[i]. A sequence of n positions uses the leading n×n part of A and the
    first n values of b. Padded positions count as zeros, so a sequence gives the same alone and
    beside longer ones.

    Args:
        max_length: most positions of a sequence, N; A is N×N.
        causal: whether A is lower triangular, so that no position depends on later ones.

    Input and output: (batch, positions, width).
    """

    def __init__(self, max_length: int, causal: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.max_length = max_length
        self.causal = causal

    def build(self, input_shape):
        # PyTorch's initial values of a linear layer of so many inputs.
        bound = self.max_length**-0.5
        initializer = keras.initializers.RandomUniform(-bound, bound)
        size = self.max_length
        self.kernel = self.add_weight(shape=(size, size), initializer=initializer, name="kernel")
        self.bias = self.add_weight(shape=(size,), initializer=initializer, name="bias")

    def call(self, tokens, mask):
        """Returns the mixed positions.

        Args:
            tokens: (batch, positions, width).
            mask: whether a position is not padded, (batch, positions).
        """
        length = ops.shape(tokens)[1]
        kernel = self._matrix()[:length, :length]
        kept = tokens * ops.expand_dims(ops.cast(mask, tokens.dtype), -1)
        mixed = ops.einsum("ij,bjd->bid", kernel, kept)
        return mixed + ops.expand_dims(ops.convert_to_tensor(self.bias)[:length], -1)

    def _matrix(self):
        kernel = ops.convert_to_tensor(self.kernel)
        return ops.tril(kernel) if self.causal else kernel

    def cache_shapes(self, length: int, width: int) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of a cache for sequences of so many positions, without the batch."""
        return {"tokens": (length, width)}

    def step(self, token, position, cache: dict):
        """Returns one mixed position, and the cache with it.

        Args:
            token: (batch, 1, width).
            position: its place in the sequence, a scalar integer.
            cache: arrays (batch, ...) by name, as `cache_shapes` has them.
        """
        tokens = put(cache["tokens"], token, position)
        length = tokens.shape[1]
        row = ops.take(self._matrix(), position, axis=0)[:length]
        mixed = ops.einsum("j,bjd->bd", row, tokens) + ops.take(self.bias, position, axis=0)
        return ops.expand_dims(mixed, 1), {"tokens": tokens}

    def compute_output_shape(self, input_shape, mask_shape=None):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "max_length": self.max_length, "causal": self.causal}


@keras.saving.register_keras_serializable(package="keras_deit")
class Attention(CompositeLayer):
    """Multi-head attention of the positions to themselves, or to those of another sequence
    ("Attention is all you need", §3.2).

    Args:
        num_heads: number of heads.
        causal: whether a position attends to itself and those before it alone.

    Input and output: (batch, positions, width).
    """

    def __init__(self, num_heads: int, causal: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.causal = causal

    def build(self, input_shape, mask_shape=None, others_shape=None):
        width = input_shape[-1]
        check_heads(width, self.num_heads)
        for name in ("query", "key", "value", "projection"):
            dense = Dense(
                width, kernel_initializer="glorot_uniform", dtype=self.dtype_policy, name=name
            )
            dense.build((*input_shape[:-1], width))
            setattr(self, name, dense)

    def call(self, tokens, mask, others=None):
        """Returns what the positions attend to.

        Args:
            tokens: (batch, positions, width).
            mask: whether a position of what is attended to is not padded, (batch, positions).
            others: sequence that is attended to, (batch, other positions, width); None for the
                tokens themselves.
        """
        allowed = ops.cast(mask, "bool")[:, None, None, :]
        if self.causal:
            length = ops.shape(tokens)[1]
            places = ops.arange(length)
            allowed = ops.logical_and(allowed, places[:, None] >= places[None, :])
        return self.attend(
            tokens, allowed, *self.keys_and_values(tokens if others is None else others)
        )

    def keys_and_values(self, others):
        """Returns keys and values (batch, positions, heads, width of a head)."""
        return self._heads(self.key(others)), self._heads(self.value(others))

    def attend(self, tokens, allowed, keys, values):
        """Returns what tokens attend to.

        Args:
            tokens: (batch, positions, width).
            allowed: which positions may be attended to, a tensor that can be broadcast to (batch,
                heads, positions, other positions).
            keys, values: as `keys_and_values` returns them.
        """
        queries = self._heads(self.query(tokens))
        scale = queries.shape[-1] ** -0.5
        logits = ops.cast(ops.einsum("bihd,bjhd->bhij", queries * scale, keys), "float32")
        weights = ops.softmax(ops.where(allowed, logits, _EXCLUDED), axis=-1)
        mixed = ops.einsum("bhij,bjhd->bihd", ops.cast(weights, values.dtype), values)
        shape = ops.shape(mixed)
        return self.projection(ops.reshape(mixed, (shape[0], shape[1], -1)))

    def _heads(self, x):
        shape = ops.shape(x)
        size = x.shape[-1] // self.num_heads
        return ops.reshape(x, (shape[0], shape[1], self.num_heads, size))

    def cache_shapes(self, length: int, width: int) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of a cache for sequences of so many positions, without the batch."""
        shape = (length, self.num_heads, width // self.num_heads)
        return {"keys": shape, "values": shape}

    def step(self, token, position, cache: dict):
        """Returns what one position attends to, and the cache with it; see `LinearMixing.step`."""
        new = dict(zip(("keys", "values"), self.keys_and_values(token), strict=True))
        cache = {name: put(cache[name], new[name], position) for name in new}
        allowed = ops.arange(cache["keys"].shape[1]) <= position
        return self.attend(token, allowed, **cache), cache

    def compute_output_shape(self, input_shape, mask_shape=None, others_shape=None):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads, "causal": self.causal}


def put(cache, values, position):
    """Returns a cache (batch, positions, ...) with values (batch, 1, ...) at a position."""
    here = ops.equal(ops.arange(cache.shape[1]), position)
    here = ops.reshape(here, (1, -1, *(1,) * (len(cache.shape) - 2)))
    return ops.where(here, ops.cast(values, cache.dtype), cache)
