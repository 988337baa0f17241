"""The padding and the channels of the convolutional stem."""

import numpy as np
import pytest
from harness import numpy, randomize

from keras_deit import InputError
from keras_deit.layers import ConvStem


@pytest.mark.parametrize("side", [16, 31, 32, 33, 48])
def test_sides_are_divided_by_16_and_rounded_up(side):
    stem = ConvStem(8)
    output = stem(np.zeros((1, side, 16, 3), "float32"))
    assert output.shape == (1, -(-side // 16), 1, 8)
    assert stem.compute_output_shape((1, side, 16, 3)) == output.shape


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_padding_is_the_same_on_both_sides():
    """The grid of a mirrored image with mirrored kernels is the mirrored grid, although the sides
    are odd."""
    stem = ConvStem(8)
    images = np.random.default_rng(0).normal(size=(2, 33, 49, 3)).astype("float32")
    stem.build(images.shape)
    randomize(stem)
    expected = numpy(stem(images))[:, ::-1, ::-1]
    for weight in stem.weights:
        weight.assign(numpy(weight)[::-1, ::-1])
    np.testing.assert_allclose(
        numpy(stem(images[:, ::-1, ::-1].copy())), expected, rtol=1e-4, atol=1e-4
    )


def test_width_that_is_not_a_multiple_of_8():
    with pytest.raises(InputError, match="embed_dim 12"):
        ConvStem(12)
