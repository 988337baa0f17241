"""The estimate of what a training step saves for the backward pass."""

import keras
import pytest
from layer_cases import CASES

from keras_deit import InputError, layers
from keras_deit.layers.activations import (
    ACTIVATION_COSTS,
    NOTHING,
    SavedActivations,
    saved_activations,
)

COSTS = ACTIVATION_COSTS["jax"]
TOKENS = (None, 6, 12)
SIZE = 6 * 12


def saved(layer, shape=TOKENS, costs=COSTS):
    if not layer.built:
        layer.build(shape)
    return saved_activations(layer, shape, costs)


class Unknown(keras.layers.Layer):
    def call(self, tokens):
        return keras.ops.square(tokens)


class Known(Unknown):
    def saved_activations(self, input_shape, costs):
        return SavedActivations(computed=input_shape[1], float32=costs.norm_float32)


@pytest.mark.parametrize(
    "layer", [Unknown(), keras.layers.LSTM(3), keras.layers.MaxPooling1D()], ids=lambda x: x.name
)
def test_an_unknown_layer_is_an_error(layer):
    name = type(layer).__name__
    with pytest.raises(InputError, match=rf"{name} .*saved_activations\(input_shape, costs\)"):
        saved(layer)


def test_a_layer_of_a_user_answers_by_its_method():
    assert saved(Known()) == SavedActivations(6, COSTS.norm_float32)


def test_an_unknown_layer_in_a_block_is_an_error():
    class UserBlock(layers.Block):
        def build(self, input_shape):
            self.inner = Unknown()

        def call(self, tokens):
            return tokens + self.inner(tokens)

    with pytest.raises(InputError, match=r"Unknown .*saved_activations"):
        saved(UserBlock())


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (keras.layers.Dense(5), SavedActivations(SIZE)),
        # The exact GELU of Keras takes four arrays; its input has 6·5 numbers.
        (keras.layers.Dense(5, activation="gelu"), SavedActivations(SIZE + 4 * 30, 0, 30)),
        (keras.layers.Dense(5, activation="relu"), SavedActivations(SIZE + 2 * 30, 0, 30)),
        (keras.layers.Conv1D(5, 3), SavedActivations(SIZE)),
        (keras.layers.Activation("relu"), SavedActivations(2 * SIZE, 0, SIZE)),
        (keras.layers.LayerNormalization(), SavedActivations(2 * SIZE, 2 * SIZE)),
        (keras.layers.Dropout(0.5), SavedActivations(0, SIZE / 4)),
        (keras.layers.Dropout(0.0), NOTHING),
        (keras.layers.Flatten(), NOTHING),
        (keras.layers.ReLU(), SavedActivations(2 * SIZE, 0, SIZE)),
        (keras.layers.Softmax(), SavedActivations(2 * SIZE, 0, SIZE)),
        (keras.layers.Rescaling(1 / 255), NOTHING),
        (keras.layers.GlobalAveragePooling1D(), NOTHING),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_of_keras_by_hand(layer, expected):
    assert saved(layer) == expected


def test_attention_by_hand_on_each_backend():
    """JAX and TensorFlow keep two maps of every head; PyTorch computes them again."""
    layer = layers.MultiHeadSelfAttention(3)
    maps = 3 * 6 * 6
    for backend in ("jax", "tensorflow"):
        expected = SavedActivations(4 * SIZE, 2 * maps, maps)
        assert saved(layer, costs=ACTIVATION_COSTS[backend]) == expected
    assert saved(layer, costs=ACTIVATION_COSTS["torch"]) == SavedActivations(5 * SIZE)


def test_a_block_saves_what_its_layers_save():
    block = layers.TransformerBlock(3, layer_scale_init=0.1, dropout_rate=0.1)
    total = saved(block)
    parts = (
        *(keras.layers.LayerNormalization(), layers.MultiHeadSelfAttention(3)),
        *(keras.layers.Dropout(0.1), layers.LayerScale(0.1)),
        *(keras.layers.LayerNormalization(), layers.MLP(48, dropout_rate=0.1)),
        layers.LayerScale(0.1),
    )
    assert total == sum(map(saved, parts), NOTHING)


@pytest.mark.parametrize(
    "case",
    # The attention around a HeadMixing counts its maps.
    [case for case in CASES if case.kind is not layers.HeadMixing],
    ids=lambda case: case.kind.__name__,
)
def test_every_layer_knows_what_it_saves(case):
    layer = case.build()
    # The batch size is not used.
    one, many = (
        saved_activations(layer, (batch, *case.input_shape[1:]), COSTS) for batch in (None, 64)
    )
    assert one == many
    nothing = {
        *(layers.PrependToken, layers.PositionEmbedding, layers.StochasticDepth),
        *(layers.BatchPositions, layers.SoftSplit, layers.SinusoidalPositions),
    }
    assert (one.bytes(4) > 0) == (case.kind not in nothing)


def test_the_padding_of_a_stem_counts():
    """An image of 19×19 becomes 10, 5 and 3 pixels wide."""
    gelus = 10 * 10 * 1 + 5 * 5 * 2 + 3 * 3 * 4
    expected = SavedActivations(19 * 19 * 3 + COSTS.gelu_arrays * gelus, 0, 100)
    assert saved(layers.ConvStem(8), (None, 19, 19, 3)) == expected


def test_bytes_depend_on_the_compute_dtype_in_part():
    activations = SavedActivations(10, 3, 4) + SavedActivations(1, 2, 7)
    assert activations == SavedActivations(11, 5, 7)
    assert activations.bytes(2) == 11 * 2 + 5 * 4
