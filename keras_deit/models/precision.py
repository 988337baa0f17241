"""The dtype policy that a model is built under."""

import contextlib

import keras

from keras_deit.errors import InputError


@contextlib.contextmanager
def precision(policy: str):
    """Makes the models that are built inside follow a dtype policy, such as "mixed_bfloat16".

    Raises:
        InputError: Keras knows no such policy.
    """
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(policy)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"Unknown dtype policy {policy!r}; float32, mixed_bfloat16 and mixed_float16 are known."
        ) from error
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
