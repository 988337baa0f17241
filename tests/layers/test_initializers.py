"""The initial values of the published models."""

import math

import numpy as np
import pytest
from harness import numpy

from keras_deit import layers
from keras_deit.layers.initializers import (
    conv_bias,
    conv_kernel,
    dense_initializers,
    dense_kernel,
    depthwise_kernel,
    skip_init,
)

# Every backend has its own random numbers.
pytestmark = pytest.mark.backends("tensorflow", "jax", "torch")


def test_dense_kernels_are_normal_and_not_truncated():
    values = numpy(dense_kernel()((400, 500))).ravel() / 0.02
    assert abs(values.mean()) < 4 / math.sqrt(values.size)
    assert abs(values.std() - 1) < 4 / math.sqrt(2 * values.size)
    for deviations in (1, 2, 3):
        share = math.erfc(deviations / math.sqrt(2))
        beyond = (np.abs(values) > deviations).mean()
        assert abs(beyond - share) < 4 * math.sqrt(share / values.size)


@pytest.mark.parametrize("shape", [(16, 16, 3, 64), (3, 3, 24, 100)])
def test_conv_kernels_are_uniform_with_the_bound_of_fan_in(shape):
    assert_uniform(conv_kernel()(shape), math.prod(shape[:-1]))


def test_conv_biases_are_uniform_with_the_same_bound():
    assert_uniform(conv_bias(fan_in=768)((4000,)), 768)


def test_fan_in_of_a_depthwise_kernel_is_one_filter():
    assert_uniform(depthwise_kernel(3)((3, 3, 500, 1)), 9)


def test_patch_embedding_has_the_bounds_of_its_fan_in():
    layer = layers.PatchEmbedding(patch_size=4, embed_dim=3000)
    layer.build((None, 8, 8, 3))
    assert_uniform(layer.projection.kernel, 48)
    assert_uniform(layer.projection.bias, 48)


def test_a_new_initializer_draws_new_values():
    assert (numpy(dense_kernel()((4, 4))) != numpy(dense_kernel()((4, 4)))).any()


@pytest.mark.parametrize("name", ["xavier_normal", "xavier_uniform"])
def test_xavier_kernels_have_the_variance_of_both_widths(name):
    values = numpy(dense_initializers(name, 300)["kernel_initializer"]((300, 500))).ravel()
    assert abs(values.std() / math.sqrt(2 / 800) - 1) < 0.01
    bound = math.sqrt(6 / 800)
    assert (np.abs(values) > bound * (1 + 1e-6)).any() == (name == "xavier_normal")


def test_torch_kernels_and_biases_have_the_bound_of_fan_in():
    made = dense_initializers("torch", 300)
    assert_uniform(made["kernel_initializer"]((300, 500)), 300)
    assert_uniform(made["bias_initializer"]((5000,)), 300)


def test_fused_kernel_of_augreg_has_the_variance_of_each_of_its_three():
    layer = layers.MultiHeadSelfAttention(num_heads=4, kernel_init="xavier_uniform")
    layer.build((None, 5, 200))
    bound = math.sqrt(6 / 400)
    assert 0.99 * bound < np.abs(numpy(layer.qkv.kernel)).max() <= bound * (1 + 1e-6)


def test_biases_of_augreg_mlps_are_tiny_but_not_zero():
    layer = layers.MLP(3000, kernel_init="xavier_uniform")
    layer.build((None, 5, 8))
    assert abs(numpy(layer.expand.bias).std() / 1e-6 - 1) < 0.1


def test_skip_init_makes_dense_kernels_nan_in_its_block_only():
    initializer = dense_kernel()
    scaled = dense_initializers("xavier_normal", 4)["kernel_initializer"]
    with skip_init():
        assert np.isnan(numpy(initializer((4, 4)))).all()
        assert np.isnan(numpy(scaled((4, 4)))).all()
        head = dense_initializers("xavier_normal", 4, may_skip=False)["kernel_initializer"]
        assert np.isfinite(numpy(head((4, 4)))).all()
        assert numpy(conv_kernel()((3, 3, 4, 4))).any()
    assert numpy(initializer((4, 4))).all()


def test_initial_values_of_a_block():
    block = layers.TransformerBlock(num_heads=4, layer_scale_init=1e-4)
    block.build((None, 5, 64))
    for weight in block.weights:
        values = numpy(weight)
        if weight.name == "kernel":
            # The smallest has 64·64 values: their deviation is within 4.5% of 0.02.
            assert abs(values.std() - 0.02) < 0.001, weight.path
        elif "layer_scale" in weight.path:
            np.testing.assert_array_equal(values, np.float32(1e-4))
        else:
            np.testing.assert_array_equal(values, float(weight.name == "gamma"))


@pytest.mark.parametrize("kind", [layers.PrependToken, layers.PositionEmbedding])
@pytest.mark.parametrize(("initializer", "deviation"), [("normal", 0.02), ("unit_normal", 1.0)])
def test_tokens_and_positions_are_normal_and_not_truncated(kind, initializer, deviation):
    layer = kind(initializer=initializer)
    layer.build((None, 1, 5000))
    values = numpy(layer.weights[0]) / deviation
    assert abs(values.std() - 1) < 0.05
    assert np.abs(values).max() > 2.5


def assert_uniform(values, fan_in):
    values = numpy(values).ravel() * math.sqrt(fan_in)
    assert np.abs(values).max() <= 1 + 1e-6
    assert values.max() > 0.99
    assert values.min() < -0.99
    # A quarter of the values in each quarter of the range.
    counts, _ = np.histogram(values, bins=4, range=(-1, 1))
    assert np.abs(counts / values.size - 1 / 4).max() < 4 * math.sqrt(3 / 16 / values.size)
