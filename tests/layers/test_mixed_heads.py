"""The attention with mixed heads: its two diagonals, its class token, half precision."""

import numpy as np
import pytest
from harness import numpy, randomize, weights_by_path
from locality_reference import cait_maps

from keras_deit.layers import MixedHeadsAttention, MixedHeadsBlock

TOKENS = np.random.default_rng(0).normal(size=(2, 6, 8)).astype("float32")
EVERY_BACKEND = pytest.mark.backends("tensorflow", "jax", "torch")


def built(kind=MixedHeadsAttention, **values):
    layer = kind(**{"num_heads": 2, "head_dim": 5, "lsa": True, **values})
    layer.build(TOKENS.shape)
    randomize(layer, 0.5)
    return layer


def test_with_zero_a_patch_scores_0_for_itself_and_attends_to_itself():
    layer = built(diagonal="zero")
    layer.heads_before_softmax.set_weights([np.eye(2)])
    query, key = (
        (TOKENS @ kernel).reshape(2, 6, 2, 5)
        for kernel in (numpy(layer.query.kernel), numpy(layer.key_value.kernel)[:, :10])
    )
    scores = np.einsum("bqhd,bkhd,h->bhqk", query, key, numpy(layer.scale))
    maps = numpy(layer.attention_probabilities(TOKENS))
    own = maps[:, :, np.arange(6), np.arange(6)]
    expected = scores * (1 - np.eye(6))
    np.testing.assert_allclose(np.log(maps / own[..., None]), expected, atol=1e-5)


@EVERY_BACKEND
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_masked_forbids_a_patch_itself_although_mixtures_are_negative(policy):
    layer = built(diagonal="masked", dtype=policy)
    layer.heads_before_softmax.set_weights([-np.eye(2)])
    maps = numpy(layer.attention_probabilities(TOKENS))
    assert (maps[:, :, np.arange(6), np.arange(6)] == 0).all()
    np.testing.assert_allclose(maps.sum(axis=-1), 1, rtol=1e-5)
    # Scores of thousands do not become NaN either.
    layer.scale.assign(layer.scale * 0 + 500)
    assert np.isfinite(numpy(layer(TOKENS))).all()


@pytest.mark.parametrize("diagonal", ["zero", "masked"])
def test_probabilities_equal_numpy(diagonal):
    layer = built(diagonal=diagonal)
    w, inputs = weights_by_path(layer), TOKENS.astype("float64")
    expected = cait_maps(inputs, inputs, w, 2, 5, diagonal)
    np.testing.assert_allclose(numpy(layer.attention_probabilities(TOKENS)), expected, atol=1e-6)


@pytest.mark.parametrize("diagonal", ["zero", "masked"])
def test_permuted_patches_give_permuted_outputs(diagonal):
    layer, order = built(diagonal=diagonal), np.random.default_rng(1).permutation(6)
    np.testing.assert_allclose(
        numpy(layer(TOKENS[:, order])), numpy(layer(TOKENS))[:, order], atol=1e-5
    )


def test_the_class_token_is_the_only_query_and_no_key_and_has_no_diagonal():
    layer = built(class_token=True, diagonal="masked")
    maps = numpy(layer.attention_probabilities(TOKENS))
    assert maps.shape == (2, 2, 1, 5) and (maps > 0).all()
    order = [0, *(1 + np.random.default_rng(1).permutation(5))]
    np.testing.assert_allclose(numpy(layer(TOKENS[:, order])), numpy(layer(TOKENS)), atol=1e-5)


def test_the_class_token_attends_to_the_patches_without_a_norm():
    """The norm of twice the patches would be that of the patches."""
    block = built(MixedHeadsBlock, class_token=True)
    doubled = np.concatenate([TOKENS[:, :1], 2 * TOKENS[:, 1:]], axis=1)
    output = numpy(block(doubled))
    np.testing.assert_array_equal(output[:, 1:], doubled[:, 1:])
    assert np.abs(output - numpy(block(TOKENS)))[:, 0].max() > 1e-3
