"""Self-attention: its errors, its biases, the order of tokens, half precision."""

import keras
import numpy as np
import pytest
from harness import numpy, randomize, weights_by_path
from numpy_reference import attention_maps

from keras_deit import InputError
from keras_deit.layers import MultiHeadSelfAttention


def test_heads_that_do_not_divide_the_width():
    with pytest.raises(InputError, match=r"10.* num_heads 3"):
        MultiHeadSelfAttention(num_heads=3).build((None, 4, 10))


def test_projection_without_qkv_bias():
    layer = MultiHeadSelfAttention(num_heads=2, qkv_bias=False)
    layer.build((None, 4, 8))
    names = {weight.path.split("/", 1)[1] for weight in layer.weights}
    assert names == {"qkv/kernel", "projection/kernel", "projection/bias"}


def test_attention_is_equivariant_to_the_order_of_tokens():
    layer = MultiHeadSelfAttention(num_heads=2)
    tokens = np.random.default_rng(0).normal(size=(2, 6, 8)).astype("float32")
    layer.build(tokens.shape)
    randomize(layer)
    order = np.random.default_rng(1).permutation(6)
    np.testing.assert_allclose(
        numpy(layer(tokens[:, order])), numpy(layer(tokens))[:, order], rtol=1e-5, atol=1e-6
    )


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_bfloat16_averages_a_long_sequence_of_equal_tokens():
    """A sum over the sequence would stop growing at 256 if it were computed in bfloat16."""
    layer = MultiHeadSelfAttention(num_heads=1, dtype="mixed_bfloat16")
    tokens = np.ones((1, 2048, 8), "float32")
    layer.build(tokens.shape)
    randomize(layer)
    exact = MultiHeadSelfAttention(num_heads=1)
    exact.build(tokens.shape)
    exact.set_weights(layer.get_weights())
    expected = numpy(exact(tokens))
    difference = numpy(layer(tokens)) - expected
    assert np.abs(difference).max() < 0.03 * np.abs(expected).max()
    assert keras.backend.standardize_dtype(layer(tokens).dtype) == "bfloat16"


def test_probabilities_equal_numpy_and_sum_to_1():
    layer = MultiHeadSelfAttention(num_heads=2)
    tokens = np.random.default_rng(0).normal(size=(3, 6, 8)).astype("float32")
    layer.build(tokens.shape)
    randomize(layer)
    maps = numpy(layer.attention_probabilities(tokens))
    expected = attention_maps(tokens.astype("float64"), weights_by_path(layer), num_heads=2)
    np.testing.assert_allclose(maps, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(maps.sum(axis=-1), 1, rtol=1e-6)
