"""Models and optimisers without memory."""

import concurrent.futures
from collections.abc import Callable
from typing import TypeVar

import keras

from keras_deit.models.precision import precision

Built = TypeVar("Built")


def outlined(build: Callable[[], Built]) -> Built:
    """What a function builds, with variables that have shapes and no memory: to count and to
    compare, not to run.

    Args:
        build: makes Keras models, layers or optimisers, or computes something from outlines.
    """
    policy = keras.config.dtype_policy()

    def build_without_memory() -> Built:
        with precision(policy), keras.StatelessScope(initialize_variables=False):
            return build()

    # Keras remembers, by thread, the variables that have no memory yet, and gives it to all of
    # them when the next stateless scope ends. In a thread of their own they are forgotten.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(build_without_memory).result()
