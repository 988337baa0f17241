"""Every layer: its output as in NumPy, configuration, file, shapes, dtypes and gradients."""

import keras
import numpy as np
import pytest
from harness import (
    assert_effect,
    constructor_arguments,
    has_gradient,
    numpy,
    randomize,
    run,
    weights_by_path,
)
from layer_cases import CASES

from keras_deit import layers

every_backend = pytest.mark.backends("tensorflow", "jax", "torch")
by_layer = pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind.__name__)
by_effect = pytest.mark.parametrize(
    ("case", "effect"),
    [
        pytest.param(case, effect, id=f"{case.kind.__name__}-{effect.argument}-{effect.value}")
        for case in CASES
        for effect in case.effects
    ],
)


def test_every_layer_has_a_case():
    # `Block` is the base class of the blocks.
    assert {case.kind.__name__ for case in CASES} == set(layers.__all__) - {"Block"}


@pytest.mark.parametrize(
    "case", {case.kind: case for case in reversed(CASES)}.values(), ids=lambda c: c.kind.__name__
)
def test_every_constructor_argument_has_an_effect_in_the_table(case):
    assert {effect.argument for effect in case.effects} == constructor_arguments(case.kind)


@by_layer
def test_output_equals_numpy(case):
    layer = case.build()
    randomize(layer)
    inputs = case.inputs()
    expected = case.reference(inputs.astype("float64"), weights_by_path(layer))
    tolerance = 1e-5 * max(1, np.abs(expected).max())
    np.testing.assert_allclose(numpy(layer(inputs)), expected, rtol=1e-5, atol=tolerance)


@by_effect
@pytest.mark.backends("torch")
def test_argument_has_an_effect_and_is_in_the_configuration(case, effect):
    assert_effect(case, effect)


@by_layer
def test_configuration_and_weights_determine_the_output(case):
    layer = case.build()
    randomize(layer)
    twin = case.rebuild(layer)
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(numpy(twin(case.inputs())), numpy(layer(case.inputs())))


@by_layer
def test_keras_file_round_trip(case, tmp_path):
    layer = case.build()
    inputs = keras.Input(case.input_shape[1:])
    model = keras.Model(inputs, layer(inputs))
    randomize(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].get_config() == layer.get_config()
    np.testing.assert_array_equal(numpy(loaded(case.inputs())), numpy(model(case.inputs())))


@by_layer
def test_computed_output_shape_equals_the_real_one(case):
    layer = case.build()
    real = tuple(layer(case.inputs()).shape)
    assert layer.compute_output_shape(case.input_shape) == real
    assert layer(keras.Input(case.input_shape[1:])).shape == (None, *real[1:])


@every_backend
@pytest.mark.nightly("jax")
@by_layer
def test_mixed_bfloat16_computes_in_bfloat16_on_float32_weights(case):
    layer, exact = case.build_random(dtype="mixed_bfloat16"), case.build_random()
    output = run(layer, case.inputs())
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"
    assert {weight.dtype for weight in layer.weights} <= {"float32"}
    expected = numpy(run(exact, case.inputs()))
    # A few operations in a row, with a mantissa of eight bits.
    assert np.abs(numpy(output) - expected).max() < 0.03 * np.abs(expected).max()


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.kind is not layers.StochasticDepth],
    ids=lambda case: case.kind.__name__,
)
@pytest.mark.backends("torch")
def test_gradient_reaches_every_weight(case):
    layer = case.build()
    inputs = keras.Input(case.input_shape[1:])
    model = keras.Model(inputs, layer(inputs))
    randomize(model)
    before = [numpy(variable) for variable in model.trainable_variables]
    # One step takes less time than tracing it.
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse", run_eagerly=True)
    output = model(case.inputs())
    target = np.random.default_rng(3).normal(size=output.shape)
    model.train_on_batch(case.inputs(), target)
    for variable, value in zip(model.trainable_variables, before, strict=True):
        moved = np.abs(numpy(variable) - value).max() > 1e-4
        assert moved == has_gradient(case, variable), variable.path
