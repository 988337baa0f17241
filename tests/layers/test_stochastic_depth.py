"""Stochastic depth: what is dropped, how often, and the factor of the rest."""

import keras
import numpy as np
import pytest
from harness import numpy, randomize, weights_by_path
from numpy_reference import attention_branch, mlp_branch

from keras_deit import InputError
from keras_deit.layers import StochasticDepth, TransformerBlock

# Every backend has its own random numbers.
pytestmark = pytest.mark.backends("tensorflow", "jax", "torch")


def draws(rate=0.3, count=4000, seed=5, times=1):
    layer = StochasticDepth(rate, seed=seed)
    ones = np.ones((count, 2, 3), "float32")
    return [numpy(layer(ones, training=True)) for _ in range(times)]


def test_whole_samples_are_dropped_and_the_others_are_divided_by_the_keep_rate():
    (output,) = draws(rate=0.3)
    assert (output == output[:, :1, :1]).all()
    np.testing.assert_allclose(np.unique(output), [0, 1 / 0.7], rtol=1e-6)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.8])
def test_rate_is_the_share_of_dropped_samples(rate):
    count = 4000
    (output,) = draws(rate, count)
    dropped = (output[:, 0, 0] == 0).sum()
    assert abs(dropped - rate * count) < 4 * np.sqrt(count * rate * (1 - rate))


def test_identity_at_inference_and_at_rate_zero():
    inputs = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    np.testing.assert_array_equal(numpy(StochasticDepth(0.9)(inputs)), inputs)
    np.testing.assert_array_equal(numpy(StochasticDepth(0.9)(inputs, training=False)), inputs)
    np.testing.assert_array_equal(numpy(StochasticDepth(0.0)(inputs, training=True)), inputs)


def test_the_seed_determines_the_draws_of_all_calls():
    first, again = draws(times=2), draws(times=2)
    np.testing.assert_array_equal(first, again)
    assert (first[0] != first[1]).any()
    assert (first[0] != draws(seed=6)[0]).any()


def test_without_a_seed_the_global_seed_determines_the_draws():
    def run(seed):
        keras.utils.set_random_seed(seed)
        return draws(seed=None)[0]

    np.testing.assert_array_equal(run(1), run(1))
    assert (run(1) != run(2)).any()


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rate_out_of_range(rate):
    with pytest.raises(InputError, match=f"rate.*{rate}"):
        StochasticDepth(rate)


def test_the_branches_of_a_block_are_dropped_independently():
    """Each sample equals one of the four sums that NumPy computes, and each of them occurs."""
    block = TransformerBlock(num_heads=2, drop_path_rate=0.5, layer_scale_init=0.1)
    inputs = np.random.default_rng(0).normal(size=(64, 3, 4)).astype("float32")
    block.build(inputs.shape)
    randomize(block)
    output = numpy(block(inputs, training=True))
    w = weights_by_path(block)
    sums = []
    for attention_factor in (0, 2):
        x = inputs + attention_factor * attention_branch(inputs.astype("float64"), w, num_heads=2)
        sums += [x + mlp_factor * mlp_branch(x, w) for mlp_factor in (0, 2)]
    equal = np.abs(np.array(sums) - output).max(axis=(2, 3)) < 1e-5
    np.testing.assert_array_equal(equal.sum(axis=0), 1)
    # Each sum is expected for 16 of the 64 samples.
    assert (equal.sum(axis=1) > 4).all()
