"""A user's block: its layers inside answer for it."""

import keras
import numpy as np
import pytest
from harness import numpy
from keras import ops

from keras_deit import InputError, count_macs
from keras_deit.layers import Block
from keras_deit.layers.activations import ACTIVATION_COSTS, SavedActivations, saved_activations
from keras_deit.layers.introspection import layer_macs
from keras_deit.layers.tracing import trace_calls

TOKENS = (None, 6, 12)


class Mixer(Block):
    """A norm, then a layer that is called twice."""

    supports_activation_checkpointing = True

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = keras.layers.LayerNormalization()
        self.dense = keras.layers.Dense(12, activation="gelu")

    def call(self, tokens, training=False):
        return self.checkpointed(self._forward, tokens, training)

    def _forward(self, tokens):
        return tokens + self.dense(self.dense(self.norm(tokens)))


class OwnMatrix(Mixer):
    def build(self, input_shape):
        self.matrix = self.add_weight(shape=(12, 12), name="matrix")
        super().build(input_shape)


def built(block):
    block(np.ones((1, *TOKENS[1:]), "float32"))
    return block


def test_every_call_of_a_layer_counts():
    block = built(Mixer())
    assert layer_macs(block, TOKENS) == 2 * 6 * 12 * 12
    costs = ACTIVATION_COSTS["jax"]
    parts = [saved_activations(layer, TOKENS, costs) for layer in (block.norm, block.dense)]
    assert saved_activations(block, TOKENS, costs) == parts[0] + parts[1] + parts[1]


def test_counting_does_not_change_the_block():
    block = built(Mixer())
    inputs = np.random.default_rng(0).normal(size=(2, 6, 12)).astype("float32")
    before = numpy(block(inputs))
    layer_macs(block, TOKENS)
    np.testing.assert_array_equal(numpy(block(inputs)), before)


class Attention(Block):
    """An attention of the block's own, whose channels are scaled by a vector."""

    def build(self, input_shape):
        self.query, self.key, self.value = (keras.layers.Dense(12) for _ in range(3))
        for layer in (self.query, self.key, self.value):
            layer.build(input_shape)
        self.scale = self.add_weight(shape=(12,), name="scale")

    def call(self, tokens):
        query, key, value = (
            ops.reshape(layer(tokens), (-1, 6, 3, 4))
            for layer in (self.query, self.key, self.value)
        )
        maps = ops.softmax(ops.einsum("bqhd,bkhd->bhqk", 0.5 * query, key))
        attended = ops.einsum("bhqk,bkhd->bqhd", maps, value)
        return tokens + self.scale * ops.reshape(attended, (-1, 6, 12))


def test_the_operations_of_a_block_count():
    block, costs = built(Attention()), ACTIVATION_COSTS["jax"]
    assert layer_macs(block, TOKENS) == 3 * 6 * 12 * 12 + 2 * 6 * 6 * 12
    # The inputs of the dense layers, queries, keys and values, what is scaled; and the maps: two
    # for the softmax and one for the product with the values.
    size, maps = 6 * 12, 3 * 6 * 6
    expected = SavedActivations(3 * size + 3 * size + size + 3 * maps, 0, maps)
    assert saved_activations(block, TOKENS, costs) == expected


class Cross(Block):
    """Keras's attention from tokens to others, or among themselves, called by keywords."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = keras.layers.MultiHeadAttention(4, 8)

    def call(self, tokens, context=None):
        context = tokens if context is None else context
        return tokens + self.attention(value=context, query=tokens)


def test_the_attention_of_keras_counts():
    tokens, context = keras.Input((16, 32)), keras.Input((5, 32))
    block = Cross()
    block(tokens)
    shape = (None, 16, 32)
    assert layer_macs(block, shape) == 81_920
    maps = 4 * 16 * 16
    # The input, queries, keys, values and the attended values.
    saved = SavedActivations(5 * 16 * 32, 2 * maps, maps)
    assert saved_activations(block, shape, ACTIVATION_COSTS["jax"]) == saved
    model = keras.Model([tokens, context], block(tokens, context))
    expected = 2 * (16 + 5) * 32 * 32 + 2 * 16 * 5 * 32
    assert count_macs(model) == layer_macs(block, [shape, (None, 5, 32)]) == expected


class Inside(Block):
    """A layer with a matrix of its own and a layer in it, and a block around it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = Composite()

    def call(self, tokens):
        return self.inner(tokens)


class Composite(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(12)

    def build(self, input_shape):
        self.matrix = self.add_weight(shape=(12, 12), name="matrix")

    def call(self, tokens):
        return ops.matmul(self.dense(tokens), self.matrix)


class InTheBackend(Block):
    def call(self, tokens):
        return tokens * np.sum(tokens)


@pytest.mark.parametrize(("kind", "name"), [(Inside, "Composite"), (InTheBackend, "InTheBackend")])
def test_what_cannot_be_answered_is_an_error(kind, name):
    block = built(kind())
    for ask in (layer_macs, lambda *x: saved_activations(*x, ACTIVATION_COSTS["jax"])):
        with pytest.raises(InputError, match=rf"{name} .*macs\(input_shape\).*saved_activations"):
            ask(block, TOKENS)


def test_layers_that_are_called_by_keywords_are_recorded():
    block = Cross()
    block(np.ones((1, 16, 32), "float32"))
    (call,) = trace_calls(block, (None, 16, 32), lambda layer: layer is block.attention)
    assert call.inputs == [(1, 16, 32)] * 2


def test_a_matrix_of_its_own_needs_a_method():
    with pytest.raises(InputError, match=r"OwnMatrix .*macs\(input_shape\)"):
        layer_macs(built(OwnMatrix()), TOKENS)


@pytest.mark.parametrize(
    ("checkpointing", "training", "wrapped"),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_activation_checkpointing_is_for_training_only(
    checkpointing, training, wrapped, monkeypatch
):
    calls = []

    def remat(function):
        calls.append(function)
        return function

    monkeypatch.setattr(keras, "remat", remat)
    block = built(Mixer())
    block.activation_checkpointing = checkpointing
    block(np.ones((1, 6, 12), "float32"), training=training)
    assert bool(calls) == wrapped
