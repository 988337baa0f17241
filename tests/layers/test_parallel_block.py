"""Blocks with parallel branches."""

import numpy as np
import pytest
from deit3_reference import branches, parallel_block
from harness import numpy, randomize, weights_by_path
from numpy_reference import attention_branch, mlp_branch

from keras_deit.layers import TransformerBlock


def built(shape, **values):
    block = TransformerBlock(num_heads=2, layer_scale_init=0.1, branches=2, **values)
    block.build(shape)
    randomize(block)
    inputs = np.random.default_rng(0).normal(size=shape).astype("float32")
    return block, inputs, weights_by_path(block)


def test_both_branches_read_the_same_tokens():
    block, inputs, w = built((3, 5, 8))
    expected = parallel_block(inputs.astype("float64"), w, num_heads=2)
    np.testing.assert_allclose(numpy(block(inputs)), expected, rtol=1e-5, atol=1e-5)
    in_sequence = inputs.astype("float64")
    for branch in branches(w):
        in_sequence = parallel_block(in_sequence, branch, num_heads=2)
    assert np.abs(in_sequence - expected).max() > 0.01


@pytest.mark.parametrize("layer_scale_init", [0.1, None])
def test_layers_of_the_second_branch_have_a_suffix(layer_scale_init):
    block = TransformerBlock(num_heads=2, layer_scale_init=layer_scale_init, branches=2)
    block.build((None, 5, 8))
    one = TransformerBlock(num_heads=2, layer_scale_init=layer_scale_init)
    one.build((None, 5, 8))
    first = set(weights_by_path(one))
    second = {path.replace("/", "_b/", 1) for path in first}
    assert set(weights_by_path(block)) == first | second
    assert block.count_params() == 2 * one.count_params()


def test_macs_grow_with_the_branches():
    shape = (None, 5, 8)
    counts = []
    for count in (1, 2, 3):
        block = TransformerBlock(num_heads=2, branches=count)
        block.build(shape)
        counts.append(block.macs(shape))
    assert counts == [counts[0], 2 * counts[0], 3 * counts[0]]


def test_parallel_branches_are_dropped_independently():
    """Each sample equals one of the sixteen sums that NumPy computes, and the four draws are not
    correlated."""
    block, inputs, w = built((192, 3, 4), drop_path_rate=0.5)
    output = numpy(block(inputs, training=True))
    a, b = branches(w)
    x = inputs.astype("float64")
    attended = [attention_branch(x, part, num_heads=2) for part in (a, b)]
    dropped = []
    sums = []
    for factors in np.ndindex(2, 2, 2, 2):
        y = x + 2 * factors[0] * attended[0] + 2 * factors[1] * attended[1]
        sums.append(y + 2 * factors[2] * mlp_branch(y, a) + 2 * factors[3] * mlp_branch(y, b))
        dropped.append(factors)
    equal = np.abs(np.array(sums) - output).max(axis=(2, 3)) < 1e-5
    np.testing.assert_array_equal(equal.sum(axis=0), 1)
    kept = np.array(dropped)[equal.argmax(axis=0)]
    # Each branch is expected in half of the 192 samples, with a standard deviation of 7.
    assert (np.abs(kept.sum(axis=0) - 96) < 28).all()
    # The correlation of independent draws has a standard deviation of 0.07.
    correlations = np.corrcoef(kept.T)[np.triu_indices(4, k=1)]
    assert np.abs(correlations).max() < 0.3
