"""Talking heads and class attention: the tokens that they change, and half precision."""

import keras
import numpy as np
import pytest
from cait_reference import class_attention_maps, talking_heads_attention, talking_heads_maps
from harness import numpy, randomize, weights_by_path

from keras_deit import InputError
from keras_deit.layers import (
    ClassAttention,
    ClassAttentionBlock,
    MultiHeadSelfAttention,
    TalkingHeadsAttention,
)

every_backend = pytest.mark.backends("tensorflow", "jax", "torch")
HALF = pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])


def tokens(length=6, width=8, samples=3):
    return np.random.default_rng(0).normal(size=(samples, length, width)).astype("float32")


def built(kind, inputs, **arguments):
    layer = kind(**arguments)
    layer.build(inputs.shape)
    randomize(layer)
    return layer


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_class_blocks_do_not_change_the_patches(policy):
    inputs = tokens().astype("float16").astype("float32")
    block = built(ClassAttentionBlock, inputs, num_heads=2, num_class_tokens=2, dtype=policy)
    output = block(inputs)
    expected = numpy(keras.ops.cast(inputs, output.dtype))
    np.testing.assert_array_equal(numpy(output)[:, 2:], expected[:, 2:])
    assert np.abs(numpy(output) - expected)[:, :2].min(axis=-1).max() > 0.1


@pytest.mark.parametrize(("patches_only", "seen"), [(False, True), (True, False)])
def test_class_tokens_attend_to_each_other_unless_patches_only(patches_only, seen):
    inputs = tokens()
    layer = built(
        ClassAttention, inputs, num_heads=2, num_class_tokens=2, patches_only=patches_only
    )
    moved = inputs.copy()
    moved[:, 1] += np.linspace(-1, 1, 8)
    change = np.abs(numpy(layer(moved)) - numpy(layer(inputs)))
    assert (change[:, 0].max() > 1e-3) == seen
    assert change[:, 1].max() > 1e-3


def test_each_mixture_has_its_place():
    """NumPy computes something else if the two mixtures are swapped."""
    inputs = tokens()
    layer = built(TalkingHeadsAttention, inputs, num_heads=2)
    w = weights_by_path(layer)
    mixtures = ("heads_before_softmax", "heads_after_softmax")
    swapped = dict(w)
    for mixture, other in (mixtures, mixtures[::-1]):
        for leaf in ("kernel", "bias"):
            swapped[f"{mixture}/{leaf}"] = w[f"{other}/{leaf}"]
    output = numpy(layer(inputs))
    np.testing.assert_allclose(
        output, talking_heads_attention(inputs.astype("float64"), w, 2), rtol=1e-5, atol=1e-5
    )
    other = talking_heads_attention(inputs.astype("float64"), swapped, 2)
    assert np.abs(output - other).max() > 0.1 * np.abs(output).max()


def test_talking_heads_with_identity_mixtures_equal_self_attention():
    inputs = tokens()
    layer = built(TalkingHeadsAttention, inputs, num_heads=2)
    for mixture in (layer.heads_before_softmax, layer.heads_after_softmax):
        mixture.set_weights([np.eye(2), np.zeros(2)])
    plain = built(MultiHeadSelfAttention, inputs, num_heads=2)
    plain.set_weights(layer.get_weights()[:4])
    np.testing.assert_allclose(numpy(layer(inputs)), numpy(plain(inputs)), rtol=1e-5, atol=1e-5)


@every_backend
@HALF
def test_a_constant_added_to_every_logit_changes_nothing_in_half_precision(policy):
    """Mixtures and softmax are computed in float32: at 4096 the spacing of bfloat16 is 32, that of
    float16 is 4."""
    inputs = tokens()
    layer = built(TalkingHeadsAttention, inputs, num_heads=2, dtype=policy)
    bias = layer.heads_before_softmax.bias
    bias.assign(np.zeros(2))
    expected = numpy(layer(inputs))
    bias.assign(np.full(2, 4096))
    assert np.abs(numpy(layer(inputs)) - expected).max() < 0.01 * np.abs(expected).max()


@every_backend
@HALF
@pytest.mark.parametrize("kind", [TalkingHeadsAttention, ClassAttention])
def test_half_precision_averages_a_long_sequence_of_equal_tokens(kind, policy):
    """A sum over the sequence would stop growing at 256 in bfloat16 and at 2048 in float16."""
    inputs = np.ones((1, 2500, 8), "float32")
    layer = built(kind, inputs, num_heads=1, dtype=policy)
    exact = kind(num_heads=1)
    exact.build(inputs.shape)
    exact.set_weights(layer.get_weights())
    expected = numpy(exact(inputs))
    output = layer(inputs)
    assert keras.backend.standardize_dtype(output.dtype) == policy.removeprefix("mixed_")
    assert np.abs(numpy(output) - expected).max() < 0.03 * np.abs(expected).max()


@every_backend
@pytest.mark.parametrize("kind", [MultiHeadSelfAttention, TalkingHeadsAttention, ClassAttention])
def test_float16_does_not_overflow_if_the_scaled_logits_do_not(kind):
    """The product of queries and keys is 8 times the logits, which is too large for float16."""
    inputs = np.sign(tokens(length=4, width=64))
    layer = built(kind, inputs, num_heads=1, dtype="mixed_float16")
    scaled = {"query": 40 * np.eye(64), "key": 40 * np.eye(64), "qkv": 40 * np.eye(64, 192)}
    scaled["qkv"][:, 64:128] = scaled["key"]
    scaled["qkv"][:, 128:] = np.eye(64)
    for weight in layer.weights:
        name, leaf = weight.path.split("/")[-2:]
        if leaf == "kernel" and name in scaled:
            weight.assign(scaled[name])
    exact = kind(num_heads=1)
    exact.build(inputs.shape)
    exact.set_weights(layer.get_weights())
    expected = numpy(exact(inputs))
    assert np.abs(numpy(layer(inputs)) - expected).max() < 0.01 * np.abs(expected).max()


def test_heads_that_do_not_divide_the_width():
    with pytest.raises(InputError, match=r"10.* num_heads 3"):
        ClassAttention(num_heads=3).build((None, 4, 10))


def test_probabilities_of_talking_heads_are_between_the_mixtures():
    inputs = tokens()
    layer = built(TalkingHeadsAttention, inputs, num_heads=2)
    maps = numpy(layer.attention_probabilities(inputs))
    expected = talking_heads_maps(inputs.astype("float64"), weights_by_path(layer), num_heads=2)
    np.testing.assert_allclose(maps, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("patches_only", "keys"), [(False, 6), (True, 4)])
def test_probabilities_of_class_attention_are_those_of_the_class_tokens(patches_only, keys):
    inputs = tokens()
    values = {"num_heads": 2, "num_class_tokens": 2, "patches_only": patches_only}
    layer = built(ClassAttention, inputs, **values)
    maps = numpy(layer.attention_probabilities(inputs))
    assert maps.shape == (3, 2, 2, keys)
    weights = weights_by_path(layer)
    expected = class_attention_maps(inputs.astype("float64"), weights, 2, 2, patches_only)
    np.testing.assert_allclose(maps, expected, rtol=1e-5, atol=1e-6)
