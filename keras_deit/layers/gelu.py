"""GELU, exact and with tanh."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_deit")
def gelu(x):
    """Returns x·Φ(x), where Φ is the normal distribution function ("Gaussian Error Linear Units",
    Hendrycks and Gimpel, 2016), within 1e-6 of `keras.activations.gelu`.

    On TensorFlow and JAX that one uses 1 − erf, which is an operation of its own there. ONNX has
    none, and erf takes less time. In 16 bits the sum 1 + erf would lose the small values of
    negative x.
    """
    is_float32 = keras.backend.standardize_dtype(x.dtype) in ("float32", "float64")
    if keras.backend.backend() == "torch" or not is_float32:
        return keras.activations.gelu(x)
    return 0.5 * x * (1 + ops.erf(x * 2**-0.5))


@keras.saving.register_keras_serializable(package="keras_deit")
def tanh_gelu(x):
    """Returns GELU's approximation with tanh, the default of Flax ("Gaussian Error Linear Units",
    §2)."""
    return keras.activations.gelu(x, approximate=True)
