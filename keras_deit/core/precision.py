"""The dtype policy that a model is built and trained under."""

import contextlib
from collections.abc import Iterator

import keras

from keras_deit.core.errors import InputError


@contextlib.contextmanager
def precision(policy: str) -> Iterator[None]:
    """Sets Keras's dtype policy, such as "mixed_bfloat16", for the models built in the block.

    Raises:
        InputError: Keras has no such policy.
    """
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(policy)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"Unknown dtype policy {policy!r}. Known are float32, mixed_bfloat16, mixed_float16."
        ) from error
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def training_precision(policy: str) -> contextlib.AbstractContextManager:
    """Returns `precision(policy)` after checking that the devices can train in it.

    Softmax, talking heads, norms, heads and losses are computed in float32 under every policy.
    Keras wraps the optimizer into a `LossScaleOptimizer` under "mixed_float16".

    Args:
        policy: "float32", "mixed_bfloat16" or "mixed_float16".

    Raises:
        InputError: the devices cannot train in this precision.
    """
    if policy == "mixed_float16" and keras.backend.backend() == "jax":
        import jax

        if jax.default_backend() == "cpu":
            raise InputError(
                "JAX does not compile float16 attention on a CPU; mixed_bfloat16 works there."
            )
    return precision(policy)
