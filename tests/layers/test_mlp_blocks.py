"""ResMLP's layers: initial values, counts, stochastic depth, the tokens that they change."""

import numpy as np
import pytest
from harness import numpy, randomize, weights_by_path
from numpy_reference import at, mlp
from resmlp_reference import affine, over_tokens

from keras_deit.layers import Affine, ClassMLPBlock, ResMLPBlock

TOKENS = np.random.default_rng(0).normal(size=(2, 6, 8)).astype("float32")


def test_affine_starts_as_the_identity():
    np.testing.assert_array_equal(numpy(Affine()(TOKENS)), TOKENS)


@pytest.mark.parametrize("kind", [ResMLPBlock, ClassMLPBlock])
def test_initial_values(kind):
    block = kind(layer_scale_init=1e-5)
    block.build((None, 64, 64))
    for weight in block.weights:
        values = numpy(weight)
        if weight.name == "kernel":
            deviations = 5 / np.sqrt(2 * values.size)
            assert abs(values.std() / 0.02 - 1) < deviations, weight.path
        elif "layer_scale" in weight.path:
            np.testing.assert_array_equal(values, np.float32(1e-5))
        else:
            np.testing.assert_array_equal(values, float(weight.name == "alpha"))


def test_the_cross_patch_layer_mixes_tokens():
    block = ResMLPBlock(layer_scale_init=0.1)
    block.build((None, 6, 8))
    shapes = {path: value.shape for path, value in weights_by_path(block).items()}
    assert shapes["cross_patch/kernel"] == (6, 6)
    assert shapes["cross_patch/bias"] == (6,)
    assert block.macs((None, 6, 8)) == 6 * 6 * 8 + 6 * 2 * 8 * 32


def test_the_branches_of_a_block_are_dropped_independently():
    """Each sample equals one of the four sums that NumPy computes, and each of them occurs."""
    block = ResMLPBlock(layer_scale_init=0.1, drop_path_rate=0.5)
    inputs = np.random.default_rng(0).normal(size=(64, 3, 4)).astype("float32")
    block.build(inputs.shape)
    randomize(block)
    output = numpy(block(inputs, training=True))
    w = weights_by_path(block)
    crossed = over_tokens(affine(inputs, at(w, "norm1")), at(w, "cross_patch"))
    sums = []
    for cross_factor in (0, 2):
        x = inputs + cross_factor * crossed * w["layer_scale1/gamma"]
        expanded = mlp(affine(x, at(w, "norm2")), at(w, "mlp")) * w["layer_scale2/gamma"]
        sums += [x + mlp_factor * expanded for mlp_factor in (0, 2)]
    equal = np.abs(np.array(sums) - output).max(axis=(2, 3)) < 1e-5
    np.testing.assert_array_equal(equal.sum(axis=0), 1)
    assert (equal.sum(axis=1) > 4).all()


def test_class_mlp_reads_all_tokens_and_changes_only_the_class_token():
    block = ClassMLPBlock(layer_scale_init=0.1)
    block.build(TOKENS.shape)
    randomize(block)
    output = numpy(block(TOKENS))
    np.testing.assert_array_equal(output[:, 1:], TOKENS[:, 1:])
    for index in range(TOKENS.shape[1]):
        moved = TOKENS.copy()
        moved[:, index] += np.linspace(-1, 1, 8)
        assert np.abs(numpy(block(moved))[:, 0] - output[:, 0]).max() > 1e-3, index


def test_class_mlp_counts():
    block = ClassMLPBlock(layer_scale_init=0.1)
    block.build((None, 6, 8))
    # A linear layer, two Affines, two LayerScales, an MLP.
    assert block.count_params() == (6 + 1) + 2 * 16 + 2 * 8 + (2 * 8 * 32 + 32 + 8)
    assert block.macs((None, 6, 8)) == 6 * 8 + 2 * 8 * 32
