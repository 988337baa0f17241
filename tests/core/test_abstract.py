"""Abstract models have shapes and no memory; errors name what is close."""

import keras
import pytest

from keras_deit.core.abstract import build_abstract
from keras_deit.core.errors import first_line, missing_method, not_installed, unknown_name


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_an_abstract_layer_has_shapes_and_no_memory():
    def build():
        layer = keras.layers.Dense(3)
        layer.build((None, 2))
        return layer

    layer = build_abstract(build)
    assert layer.kernel.shape == (2, 3)
    assert all(variable._value is None for variable in layer.variables)
    # The next stateless scope must not give it memory.
    with keras.StatelessScope():
        pass
    assert all(variable._value is None for variable in layer.variables)


def test_an_abstract_model_is_built_under_the_dtype_policy_of_the_caller():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert build_abstract(lambda: keras.layers.Dense(1)).compute_dtype == "bfloat16"
    finally:
        keras.config.set_dtype_policy(policy)


def test_an_error_in_the_function_is_raised():
    def build():
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        build_abstract(build)


def test_errors_name_what_is_close_and_what_is_missing():
    error = unknown_name("model", "DEIT_tiny", ["deit_tiny", "deit_small", "zebra"])
    assert "DEIT_tiny" in str(error) and "deit_tiny" in str(error) and "zebra" not in str(error)
    # If nothing is close, something is shown all the same.
    assert "zebra" in str(unknown_name("model", "???", ["zebra"]))
    assert "keras-deit[jax]" in str(not_installed("Export", "jax", "Training works."))
    assert "list" in str(missing_method([], "blocks()", "counting"))
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"
