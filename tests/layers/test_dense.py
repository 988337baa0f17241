"""The dense layer computes what Keras's does, and its gradients."""

import keras
import numpy as np
import pytest
from harness import numpy

from keras_deit.layers.dense import Dense

pytestmark = pytest.mark.backends("tensorflow", "jax", "torch")


def pair(shape, **options):
    """Returns the layer, and Keras's with the same weights, and inputs."""
    rng = np.random.default_rng(0)
    layers = [kind(5, **options) for kind in (Dense, keras.layers.Dense)]
    for layer in layers:
        layer.build(shape)
    values = [rng.normal(size=w.shape) for w in layers[0].weights]
    for layer in layers:
        layer.set_weights(values)
    return layers, rng.normal(size=shape).astype("float32")


@pytest.mark.parametrize("shape", [(2, 3), (2, 4, 3), (2, 4, 2, 3)])
@pytest.mark.parametrize("options", [{}, {"use_bias": False}, {"activation": "relu"}])
def test_outputs_are_those_of_keras(shape, options):
    (own, other), inputs = pair(shape, **options)
    found, expected = own(inputs), other(inputs)
    assert tuple(found.shape) == (*shape[:-1], 5) == own.compute_output_shape(shape)
    np.testing.assert_allclose(numpy(found), numpy(expected), rtol=1e-5, atol=1e-6)


def test_bfloat16_is_that_of_keras():
    (own, other), inputs = pair((2, 4, 3), dtype="mixed_bfloat16")
    found = own(inputs)
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    found, expected = (numpy(keras.ops.cast(x, "float32")) for x in (found, other(inputs)))
    # One rounding instead of two.
    np.testing.assert_allclose(found, expected, rtol=2e-2, atol=2e-2)


def test_gradients_are_those_of_keras():
    layers, inputs = pair((8, 4, 3))
    for layer in layers:
        model = keras.Sequential([keras.Input((4, 3)), layer])
        model.compile(keras.optimizers.SGD(0.1), "mean_squared_error", jit_compile=False)
        model.fit(inputs, np.ones((8, 4, 5), "float32"), epochs=2, batch_size=8, verbose=0)
    for own, other in zip(*(layer.get_weights() for layer in layers), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)


def test_it_is_quantized_and_adapted_like_that_of_keras():
    (own, other), inputs = pair((2, 4, 3))
    for layer in (own, other):
        layer.enable_lora(2)
        layer.lora_kernel_b.assign(np.ones((2, 5)))
        layer.lora_kernel_a.assign(np.ones((3, 2)))
    np.testing.assert_allclose(numpy(own(inputs)), numpy(other(inputs)), rtol=1e-5, atol=1e-6)
    for layer in (own, other):
        layer.quantize("int8")
    np.testing.assert_allclose(numpy(own(inputs)), numpy(other(inputs)), rtol=1e-5, atol=1e-6)


def test_batches_of_any_size_go_through_a_model(tmp_path):
    (own, _), inputs = pair((2, 4, 3))
    tokens = keras.Input((None, 3))
    model = keras.Model(tokens, own(tokens))
    assert model.output_shape == (None, None, 5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for size in (1, 2):
        found, expected = (numpy(layer(inputs[:size, :3])) for layer in (loaded, own))
        np.testing.assert_array_equal(found, expected)
