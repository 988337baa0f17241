"""The convolutional stem for little data, against NumPy."""

import numpy as np
import pytest
from harness import numpy, randomize, run, weights_by_path
from residual_stem_cases import residual_stem

from keras_deit import InputError, create_model
from keras_deit.layers import ResidualConvStem

IMAGES = np.random.default_rng(0).normal(size=(2, 16, 8, 3)).astype("float32")


@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("patch_size", [2, 4])
def test_it_agrees_with_numpy(patch_size, training):
    stem = ResidualConvStem(patch_size, embed_dim=24)
    stem.build(IMAGES.shape)
    randomize(stem)
    expected = residual_stem(IMAGES, weights_by_path(stem), training)
    output = numpy(run(stem, IMAGES, training))
    assert output.shape == stem.compute_output_shape(IMAGES.shape) == expected.shape
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4)


def test_widths_double_from_16_up_to_that_of_the_tokens():
    stem = ResidualConvStem(8, embed_dim=96)
    stem.build((None, 32, 32, 3))
    assert [conv.filters for conv in stem.convs] == [16, 32, 32, 32, 64, 64, 64, 96, 96, 96]
    assert stem.patch_grid((None, 32, 48, 3)) == (4, 6)


def test_macs_are_those_of_the_convolutions():
    stem = ResidualConvStem(2, embed_dim=8)
    stem.build((None, 16, 8, 3))
    # 3 → 8 at 16×8, then three of 8 → 8 at 8×4.
    assert stem.macs((None, 16, 8, 3)) == 128 * 27 * 8 + 3 * 32 * 9 * 8 * 8


def test_a_deit_has_it_and_refuses_other_patches_and_stems(tmp_path):
    sizes = {"image_size": 16, "embed_dim": 24, "depth": 1, "num_heads": 2, "num_classes": 3}
    name = "deit_tiny_distilled_patch16_224"
    model = create_model(name, patch_size=4, stem="conv", **sizes)
    assert model.get_layer("patch_embedding").patch_grid((None, 16, 16, 3)) == (4, 4)
    images = np.random.default_rng(1).normal(size=(2, 16, 16, 3)).astype("float32")
    model.save_weights(tmp_path / "model.weights.h5")
    other = create_model(name, patch_size=4, stem="conv", **sizes)
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(numpy(model(images)), numpy(other(images)))
    with pytest.raises(InputError, match=r"power of two above 1.*12"):
        create_model(name, patch_size=12, stem="conv", **{**sizes, "image_size": 24})
    with pytest.raises(InputError, match=r"stem 'hmlp'.*conv"):
        create_model(name, patch_size=4, stem="hmlp", **sizes)
