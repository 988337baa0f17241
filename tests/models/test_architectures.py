"""Every architecture against NumPy, its configuration, its files, its shapes and dtypes."""

import h5py
import keras
import numpy as np
import pytest
from harness import (
    OBSERVERS,
    configuration,
    constructor_arguments,
    has_gradient,
    numpy,
    randomize,
    same,
    weights_by_path,
)
from model_cases import CASES

from keras_deit import list_models
from keras_deit.core.precision import precision
from keras_deit.models import get_spec

by_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
# The statistics of three images are others in every batch.
STEADY = {name: case for name, case in CASES.items() if not case.canceled}
by_case_without_batch_norm = pytest.mark.parametrize("case", STEADY.values(), ids=STEADY)
by_effect = pytest.mark.parametrize(
    ("case", "effect"),
    [
        pytest.param(case, effect, id=f"{name}-{effect.argument}-{effect.value}")
        for name, case in CASES.items()
        for effect in case.effects
    ],
)


def test_every_architecture_has_a_case_with_effects():
    architectures = {get_spec(name).architecture for name in list_models()}
    assert {case.kind for case in CASES.values() if case.effects} == architectures


@pytest.mark.parametrize(
    "case", [case for case in CASES.values() if case.effects], ids=lambda case: case.kind.__name__
)
def test_every_constructor_argument_has_an_effect_in_the_table(case):
    assert {effect.argument for effect in case.effects} == constructor_arguments(case.kind)


@by_effect
def test_argument_changes_something_and_survives_its_configuration(case, effect):
    observe = OBSERVERS[effect.changes]
    base = observe(case, case.build())
    assert same(base, observe(case, case.build()))
    changed = case.build(**{effect.argument: effect.value})
    rebuilt = case.rebuild(changed)
    assert configuration(rebuilt) == configuration(changed)
    observed = observe(case, changed)
    assert not same(base, observed)
    assert same(observed, observe(case, rebuilt))


@by_case
@pytest.mark.parametrize("deviation", [0.3, 0.02], ids=["large weights", "where epsilon counts"])
def test_logits_are_those_of_numpy(case, deviation):
    model = case.build()
    randomize(model, deviation)
    expected = case.reference(case.inputs(), weights_by_path(model))
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(numpy(model(case.inputs())), expected, rtol=0, atol=tolerance)


@by_case_without_batch_norm
def test_output_is_the_same_in_training_but_for_stochastic_depth(case):
    model = case.build()
    inputs = case.inputs()
    np.testing.assert_array_equal(numpy(model(inputs, training=True)), numpy(model(inputs)))


@by_case
def test_keras_file_round_trip(case, tmp_path):
    model = case.build(name="mine", drop_path_rate=0.2)
    randomize(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is case.kind
    assert configuration(loaded) == configuration(model)
    assert loaded.name == "mine"
    np.testing.assert_array_equal(numpy(loaded(case.inputs())), numpy(model(case.inputs())))


@by_case
@pytest.mark.parametrize(("rate", "other"), [(0.0, 0.3), (0.3, 0.0), (0.1, 0.3)])
def test_weights_file_round_trip_between_drop_path_rates(case, rate, other, tmp_path):
    model, twin = case.build(drop_path_rate=rate), case.build(drop_path_rate=other)
    randomize(model)
    model.save_weights(tmp_path / "a.weights.h5")
    twin.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(numpy(twin(case.inputs())), numpy(model(case.inputs())))


@by_case
def test_weights_file_holds_each_weight_once(case, tmp_path):
    model = case.build()
    model.save_weights(tmp_path / "a.weights.h5")
    shapes = []
    with h5py.File(tmp_path / "a.weights.h5") as file:
        assert "heads" not in file
        file.visititems(
            lambda _, item: shapes.append(item.shape) if isinstance(item, h5py.Dataset) else None
        )
    assert sorted(shapes) == sorted(tuple(weight.shape) for weight in model.weights)


@by_case
def test_mixed_bfloat16_gives_float32_logits_of_float32_weights(case):
    exact = case.build()
    with precision("mixed_bfloat16"):
        model = case.build()
    model.set_weights(exact.get_weights())
    logits = model(case.inputs())
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert model.get_layer("block_0").compute_dtype == "bfloat16"
    expected = numpy(exact(case.inputs()))
    assert np.linalg.norm(numpy(logits) - expected) < 2e-2 * np.linalg.norm(expected)


@by_case
def test_a_saved_model_keeps_its_precision(case, tmp_path):
    with precision("mixed_bfloat16"):
        model = case.build()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert keras.config.dtype_policy().name == "float32"
    assert loaded.get_layer("block_0").compute_dtype == "bfloat16"
    np.testing.assert_array_equal(numpy(loaded(case.inputs())), numpy(model(case.inputs())))


@by_case_without_batch_norm
def test_fit_is_that_of_any_keras_classifier(case):
    model = case.build()
    inputs = case.inputs()
    model.compile(
        optimizer=keras.optimizers.Adam(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    labels = np.array([0, 2, 4])
    before = model.evaluate(inputs, labels, verbose=0, return_dict=True)
    model.fit(np.tile(inputs, (100, 1, 1, 1)), np.tile(labels, 100), batch_size=3, verbose=0)
    after = model.evaluate(inputs, labels, verbose=0, return_dict=True)
    assert after["loss"] < 0.1 * before["loss"]
    assert after["accuracy"] == 1
    assert (model.predict(inputs, verbose=0).argmax(axis=-1) == labels).all()


@by_case
def test_gradient_reaches_every_trainable_variable(case):
    model = case.build()
    randomize(model)
    variables = model.trainable_variables
    before = [numpy(variable) for variable in variables]
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse", jit_compile=False)
    target = np.random.default_rng(3).normal(size=model(case.inputs()).shape)
    model.train_on_batch(case.inputs(), target)
    for variable, value in zip(variables, before, strict=True):
        if has_gradient(case, variable):
            assert np.abs(numpy(variable) - value).max() > 1e-6, variable.path
