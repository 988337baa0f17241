"""Multiply-adds of whole models, counted by hand."""

import keras
import pytest

from keras_deit import InputError, count_macs
from keras_deit.models import abstract_model


def test_nested_model_of_keras_layers_by_hand():
    inputs = keras.Input((9, 7, 3))
    x = keras.layers.Conv2D(10, (3, 5), strides=2, padding="same", name="a")(inputs)  # to 5×4
    x = keras.layers.DepthwiseConv2D(3, padding="valid", name="b")(x)  # to 3×2
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dense(6, name="c")(x)  # at each of the six positions
    outputs = keras.layers.Dense(4)(keras.layers.Flatten()(x))
    by_hand = 5 * 4 * 10 * 3 * 5 * 3 + 3 * 2 * 10 * 3 * 3 + 6 * 10 * 6 + 36 * 4
    model = keras.Model(inputs, outputs)
    assert count_macs(model) == by_hand
    around = keras.Input((9, 7, 3))
    assert count_macs(keras.Model(around, model(around))) == by_hand


def test_deit_by_hand():
    model = abstract_model(
        "deit_tiny_distilled_patch16_224",
        image_size=(8, 12),
        patch_size=4,
        embed_dim=6,
        depth=2,
        num_heads=2,
        mlp_ratio=3,
        num_classes=5,
    )
    length, width = 2 * 3 + 2, 6
    patches = 6 * (4 * 4 * 3) * width
    attention = length * width * 3 * width + 2 * length * length * width + length * width * width
    mlp = 2 * length * width * 3 * width
    assert count_macs(model) == patches + 2 * (attention + mlp) + 2 * width * 5


def test_a_model_with_an_unknown_layer_is_an_error():
    inputs = keras.Input((4, 6))
    outputs = keras.layers.MultiHeadAttention(2, 3)(inputs, inputs)
    with pytest.raises(InputError, match=r"MultiHeadAttention .*macs\(input_shape\)"):
        count_macs(keras.Model(inputs, outputs))
