"""The hMLP stem: batch statistics, patches, multiply-adds, initial values."""

import keras
import numpy as np
import pytest
from deit3_reference import hmlp_stem
from harness import numpy, randomize, run, weights_by_path
from hmlp_layer_cases import HMLP

from keras_deit import InputError
from keras_deit.layers import HierarchicalMLPStem


@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.parametrize("training", [False, True])
def test_training_uses_batch_statistics_and_inference_moving_ones(training):
    stem = HMLP.build()
    randomize(stem)
    w = weights_by_path(stem)
    expected = hmlp_stem(HMLP.inputs().astype("float64"), w, training=training)
    output = numpy(run(stem, HMLP.inputs(), training))
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-4 if training else 1e-5)
    other = hmlp_stem(HMLP.inputs().astype("float64"), w, training=not training)
    assert np.abs(output - other).max() > 0.1


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_moving_statistics_have_a_momentum_of_0_9():
    stem = HMLP.build()
    inputs = HMLP.inputs()
    first = numpy(stem.convs[0](inputs))
    stem(inputs, training=True)
    w = weights_by_path(stem)
    mean, variance = first.mean(axis=(0, 1, 2)), first.var(axis=(0, 1, 2))
    np.testing.assert_allclose(w["norm1/moving_mean"], 0.1 * mean, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(w["norm1/moving_variance"], 0.9 + 0.1 * variance, rtol=1e-5)


def test_a_patch_changes_only_its_own_token():
    stem = HierarchicalMLPStem(embed_dim=8)
    images = np.random.default_rng(0).normal(size=(1, 48, 32, 3)).astype("float32")
    stem.build(images.shape)
    randomize(stem)
    base = numpy(stem(images))
    assert base.shape == (1, 6, 8)
    for patch in range(6):
        row, column = divmod(patch, 2)
        changed = images.copy()
        changed[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] += 1
        difference = np.abs(numpy(stem(changed)) - base).max(axis=(0, 2))
        assert difference[patch] > 0.01
        np.testing.assert_array_equal(np.delete(difference, patch), 0)


def test_macs():
    stem = HierarchicalMLPStem(embed_dim=384)
    stem.build((None, 224, 224, 3))
    # 4×4, 3 → D/4 at 56×56; 2×2, D/4 → D/4 at 28×28; 2×2, D/4 → D at 14×14.
    expected = 56**2 * 48 * 96 + 28**2 * 4 * 96 * 96 + 14**2 * 4 * 96 * 384
    assert stem.macs((None, 224, 224, 3)) == expected


def test_initial_values():
    stem = HierarchicalMLPStem(embed_dim=256)
    stem.build((None, 16, 16, 3))
    for number, fan_in in ((1, 48), (2, 256), (3, 256)):
        for name in ("kernel", "bias"):
            values = numpy(getattr(stem.convs[number - 1], name)) * np.sqrt(fan_in)
            assert 0.9 < np.abs(values).max() <= 1 + 1e-6
        norm = stem.norms[number - 1]
        for weight in norm.weights:
            expected = float(weight.name in ("gamma", "moving_variance"))
            np.testing.assert_array_equal(numpy(weight), expected)


def test_width_that_is_not_a_multiple_of_4():
    with pytest.raises(InputError, match=r"embed_dim.*10"):
        HierarchicalMLPStem(embed_dim=10)


def test_mixed_precision_keeps_the_statistics_in_float32():
    stem = HierarchicalMLPStem(embed_dim=8, dtype="mixed_bfloat16")
    stem(np.ones((2, 16, 16, 3), "float32"), training=True)
    for norm in stem.norms:
        dtypes = {keras.backend.standardize_dtype(weight.dtype) for weight in norm.weights}
        assert dtypes == {"float32"}
