"""SPT and LSA: what they see, the diagonal, half precision, bad input."""

import numpy as np
import pytest
from harness import numpy, randomize, weights_by_path
from locality_reference import lsa_maps
from numpy_reference import attention

from keras_deit import InputError, layers
from keras_deit.layers.shifted_patches import shift_and_concatenate
from keras_deit.models import DeiT, build_model

TOKENS = np.random.default_rng(0).normal(size=(2, 6, 8)).astype("float32")


def lsa(**options):
    layer = layers.LocalitySelfAttention(num_heads=2, **options)
    layer.build(TOKENS.shape)
    randomize(layer)
    return layer


def test_each_copy_of_an_impulse_lands_at_its_own_shift():
    image = np.zeros((1, 9, 9, 2), "float32")
    image[0, 4, 4] = 1, 2
    shifted = numpy(shift_and_concatenate(image, 2))
    for copy, place in enumerate([(4, 4), (6, 6), (6, 2), (2, 6), (2, 2)]):
        of_copy = shifted[0, ..., 2 * copy : 2 * copy + 2]
        np.testing.assert_array_equal(of_copy[place], [1, 2])
        assert np.count_nonzero(of_copy) == 2


def test_a_constant_image_is_constant_except_at_the_border():
    shifted = numpy(shift_and_concatenate(np.ones((1, 8, 8, 1), "float32"), 2))
    assert (shifted[0, 2:-2, 2:-2] == 1).all()
    # What is left-up of the first pixel is outside.
    np.testing.assert_array_equal(shifted[0, 0, 0], [1, 0, 0, 0, 1])


@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_no_token_attends_to_itself(policy):
    layer = lsa(dtype=policy)
    maps = numpy(layer.attention_probabilities(TOKENS))
    assert (maps[:, :, np.arange(6), np.arange(6)] == 0).all()
    np.testing.assert_allclose(maps.sum(axis=-1), 1, rtol=1e-5)
    # Scores of thousands do not become NaN either.
    layer.scale.assign(layer.scale * 0 + 500)
    assert np.isfinite(numpy(layer(TOKENS))).all()


def test_probabilities_equal_numpy():
    layer = lsa()
    expected = lsa_maps(TOKENS.astype("float64"), weights_by_path(layer), num_heads=2)
    np.testing.assert_allclose(numpy(layer.attention_probabilities(TOKENS)), expected, atol=1e-6)


def test_the_initial_temperature_is_that_of_plain_attention():
    layer = layers.LocalitySelfAttention(num_heads=2, head_dim=16)
    layer.build(TOKENS.shape)
    np.testing.assert_array_equal(numpy(layer.scale), [0.25, 0.25])


def test_a_token_that_is_alone_attends_to_itself():
    layer = lsa()
    alone = TOKENS[:, :1]
    weights = {**weights_by_path(layer), "scale": None}
    np.testing.assert_allclose(numpy(layer(alone)), attention(alone, weights, 2), atol=1e-6)


def test_permuted_tokens_give_permuted_outputs():
    layer, order = lsa(), np.random.default_rng(1).permutation(6)
    np.testing.assert_allclose(
        numpy(layer(TOKENS[:, order])), numpy(layer(TOKENS))[:, order], atol=1e-6
    )


def test_deit_with_both_has_the_further_weights():
    plain, both = (
        build_model("deit_tiny_patch16_224", image_size=32, patch_size=8, spt=value, lsa=value)
        for value in (False, True)
    )
    further = 4 * 3 * 8**2 * 192 + 2 * 5 * 3 * 8**2 + 12 * 3
    assert both.count_params() - plain.count_params() == further


@pytest.mark.parametrize(
    ("create", "words"),
    [
        (lambda: layers.ShiftedPatchTokenization(1, 8), "patch_size should be 2 or more"),
        (lambda: layers.ShiftedPatchPooling(8, (4, 3)), "even sides. Received: 4×3"),
        (lambda: layers.TransformerBlock(2, talking_heads=True, lsa=True), "LSA or mixes"),
        (lambda: DeiT(32, 8, 24, 1, 3, spt=True, stem="conv"), "stem='conv'"),
        (lambda: lsa(use_projection=False, head_dim=5), "2 heads of width 5 need a projection"),
        (lambda: lsa(kernel_init="he"), "kernel_init"),
    ],
)
def test_bad_values(create, words):
    with pytest.raises(InputError, match=words):
        create()
