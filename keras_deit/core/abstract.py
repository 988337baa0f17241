"""Abstract models: variables have shapes and dtypes but no memory."""

import concurrent.futures
from collections.abc import Callable
from typing import TypeVar

import keras

from keras_deit.core.precision import precision

Result = TypeVar("Result")


def build_abstract(build: Callable[[], Result]) -> Result:
    """Calls a function that builds Keras objects, so that their variables get no memory.

    The result can be counted and compared but not run.

    Args:
        build: builds models, layers or optimizers, or computes something from abstract ones.
    """
    policy = keras.config.dtype_policy()

    def build_without_memory() -> Result:
        with precision(policy), keras.StatelessScope(initialize_variables=False):
            return build()

    # Keras keeps a list of uninitialized variables for each thread and initializes all of them
    # when the thread's next stateless scope ends. The list of a thread that ends is dropped.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(build_without_memory).result()
