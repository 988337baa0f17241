"""The precision that a training computes in."""

import contextlib

import keras

from keras_deit.errors import InputError
from keras_deit.models.precision import precision


def training_precision(policy: str) -> contextlib.AbstractContextManager:
    """`precision`, where the devices can train in it.

    Softmax, talking heads, norms, heads and losses are computed in float32 under every policy.
    Keras puts a `LossScaleOptimizer` around the optimiser under "mixed_float16".

    Args:
        policy: "float32", "mixed_bfloat16" or "mixed_float16".

    Raises:
        InputError: the devices cannot.
    """
    if policy == "mixed_float16" and keras.backend.backend() == "jax":
        import jax

        if jax.default_backend() == "cpu":
            raise InputError(
                "JAX does not compile float16's attention on a CPU; mixed_bfloat16 works there."
            )
    return precision(policy)
