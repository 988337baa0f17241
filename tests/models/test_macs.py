"""Multiply-adds of whole models, counted by hand."""

import keras
import pytest
from keras import ops

from keras_deit import InputError, count_macs
from keras_deit.core.abstract import build_abstract
from keras_deit.layers.activations import ACTIVATION_COSTS, model_activations
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
    outputs = keras.layers.LSTM(2)(inputs)
    with pytest.raises(InputError, match=r"LSTM .*macs\(input_shape\)"):
        count_macs(keras.Model(inputs, outputs))


def test_operations_of_a_functional_model_count():
    tokens = keras.Input((16, 32))
    query = keras.layers.Dense(32)(tokens)
    maps = ops.softmax(ops.matmul(query, ops.transpose(tokens, (0, 2, 1))) / 8)
    model = keras.Model(tokens, ops.gelu(ops.einsum("bqk,bkd->bqd", maps, tokens)))
    assert count_macs(model) == 16 * 32 * 32 + 2 * 16 * 16 * 32


def test_the_windows_of_an_image_count_together():
    tokens = keras.Input((16, 32))
    windows = keras.layers.Dense(7)(ops.reshape(tokens, (-1, 4, 32)))
    assert count_macs(keras.Model(tokens, windows)) == 16 * 32 * 7


def test_an_unknown_operation_is_an_error():
    inputs = keras.Input((4, 6))
    outputs = ops.fft((inputs, inputs))[0]
    with pytest.raises(InputError, match=r"FFT .*macs\(input_shape\)"):
        count_macs(keras.Model(inputs, outputs))


def test_a_size_that_is_not_fixed_is_an_error():
    inputs = keras.Input((None, None, 3))
    outputs = keras.layers.Conv2D(2, 3)(inputs)
    with pytest.raises(InputError, match="fixed image size"):
        count_macs(keras.Model(inputs, outputs))


def test_a_model_answers_for_itself():
    model = abstract_model("deit_tiny_patch16_224")
    assert count_macs(model) == model.macs() > 0
    model.macs = lambda: 7
    assert count_macs(model) == 7


@pytest.mark.parametrize(
    ("body", "expected"),
    # By the strides in its 1×1 convolutions; with those in the 3×3 ones ResNet-50 has 4.1e9.
    [("ResNet50", 3_857_973_248), ("MobileNetV2", 300_774_272)],
)
def test_bodies_of_keras_are_counted_and_planned(body, expected):
    model = build_abstract(lambda: getattr(keras.applications, body)(weights=None))
    images = keras.Input((224, 224, 3))
    around = keras.Model(images, model(images))
    assert count_macs(model) == count_macs(around) == expected
    costs = ACTIVATION_COSTS["jax"]
    assert model_activations(around, costs) == model_activations(model, costs)
    assert model_activations(model, costs).bytes(4) > 4 * 224 * 224 * 3
