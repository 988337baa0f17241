"""The exact GELU, in operations that ONNX has."""

import math

import keras
import numpy as np
import pytest
from harness import numpy

from keras_deit import create_model
from keras_deit.layers.gelu import gelu


@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.parametrize(("dtype", "rounding"), [("float32", 0), ("bfloat16", 2**-8)])
def test_gelu_is_exact(dtype, rounding):
    inputs = keras.ops.cast(np.linspace(-6, 6, 1001).astype("float32"), dtype)
    expected = [0.5 * x * math.erfc(-x / math.sqrt(2)) for x in numpy(inputs).astype("float64")]
    np.testing.assert_allclose(numpy(gelu(inputs)), expected, rtol=rounding, atol=1.1e-6)


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_gelu_is_that_of_keras():
    inputs = keras.ops.linspace(-6.0, 6.0, 1001)
    difference = numpy(gelu(inputs)) - numpy(keras.activations.gelu(inputs))
    assert np.abs(difference).max() <= 1e-6


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("deit_tiny_patch16_224", {"num_heads": 2}),
        ("deit_small_patch16_18x2_LS", {"num_heads": 2, "stem": "hmlp"}),
        ("resmlp_12_224", {}),
        ("patchconvnet_s60_224", {}),
    ],
)
def test_no_model_computes_what_onnx_lacks(name, sizes):
    """ONNX Runtime refuses Erfc, which `tf.nn.gelu` has."""
    import tensorflow as tf

    model = create_model(name, image_size=32, embed_dim=24, depth=1, num_classes=5, **sizes)
    images = tf.TensorSpec((1, 32, 32, 3), "float32")
    operations = tf.function(model).get_concrete_function(images).graph.get_operations()
    assert "Erf" in {operation.type for operation in operations}
    assert "Erfc" not in {operation.type for operation in operations}
