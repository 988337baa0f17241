"""A user's block: its layers inside answer for it."""

import keras
import numpy as np
import pytest
from harness import numpy

from keras_deit import InputError
from keras_deit.layers import Block
from keras_deit.layers.activations import ACTIVATION_COSTS, saved_activations
from keras_deit.layers.introspection import layer_macs

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
