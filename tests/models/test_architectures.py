"""Every architecture: its logits as in NumPy, configuration, files, dtypes and gradients."""

import itertools

import h5py
import keras
import numpy as np
import pytest
from harness import (
    assert_effect,
    configuration,
    constructor_arguments,
    has_gradient,
    numpy,
    randomize,
    run,
    weights_by_path,
)
from model_cases import CASES

from keras_deit import list_models
from keras_deit.core.precision import precision
from keras_deit.models import BinaryViT, get_spec

every_backend = pytest.mark.backends("tensorflow", "jax", "torch")
# Each of the others consists of the layers of one that is not among them, or the authors' numbers
# are compared on every backend.
ON_TENSORFLOW_ONLY = {
    *("DeiT", "DeiT III", "parallel ViT without LayerScale", "CaiT"),
    *("SL-ViT", "SL-CaiT"),
}
by_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
by_case_and_backend = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name, marks=() if name in ON_TENSORFLOW_ONLY else every_backend)
        for name, case in CASES.items()
    ],
)
by_effect = pytest.mark.parametrize(
    ("case", "effect"),
    [
        pytest.param(case, effect, id=f"{name}-{effect.argument}-{effect.value}")
        for name, case in CASES.items()
        for effect in case.effects
    ],
)


def test_every_family_has_a_case_with_effects():
    families = {get_spec(name).family for name in list_models()}
    assert {case.kind for case in CASES.values() if case.effects} == families


@pytest.mark.parametrize(
    "case", [case for case in CASES.values() if case.effects], ids=lambda case: case.kind.__name__
)
def test_every_constructor_argument_has_an_effect_in_the_table(case):
    assert {effect.argument for effect in case.effects} == constructor_arguments(case.kind)


# PyTorch builds and runs models without compiling, in half the time.
@pytest.mark.slow
@pytest.mark.backends("torch")
@by_effect
def test_argument_has_an_effect_and_is_in_the_configuration(case, effect):
    assert_effect(case, effect)


def assert_logits_equal_numpy(case, deviation):
    model = case.build_random(deviation)
    expected = case.reference(case.inputs(), weights_by_path(model))
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(numpy(run(model, case.inputs())), expected, rtol=0, atol=tolerance)


@by_case_and_backend
def test_logits_equal_numpy(case):
    assert_logits_equal_numpy(case, deviation=0.3)


@by_case
def test_logits_of_small_weights_equal_numpy(case):
    """The variances in the norms are so small that their epsilon counts."""
    assert_logits_equal_numpy(case, deviation=0.02)


@pytest.mark.parametrize(
    "case",
    # With a batch normalization the output in training is another one.
    [pytest.param(case, id=name) for name, case in CASES.items() if not case.canceled],
)
def test_training_without_stochastic_depth_changes_no_output(case):
    model = case.build()
    inputs = case.inputs()
    np.testing.assert_array_equal(numpy(model(inputs, training=True)), numpy(model(inputs)))


@by_case
@pytest.mark.backends("torch")
def test_keras_file_round_trip(case, tmp_path):
    with precision("mixed_bfloat16"):
        model = case.build_random(name="mine", drop_path_rate=0.2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert keras.config.dtype_policy().name == "float32"
    assert type(loaded) is case.kind
    assert loaded.name == "mine"
    assert configuration(loaded) == configuration(model)
    assert loaded.blocks[0].compute_dtype == "bfloat16"
    for variable, other in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(numpy(variable), numpy(other))
    np.testing.assert_array_equal(numpy(loaded(case.inputs())), numpy(model(case.inputs())))


@pytest.mark.slow
@pytest.mark.backends("torch")
@by_case
def test_weights_file_fits_models_of_every_drop_path_rate(case, tmp_path):
    """With a rate above 0 a model has seed generators, whose state is not in the file."""
    path = tmp_path / "a.weights.h5"
    models = [case.build_random(drop_path_rate=rate) for rate in (0.0, 0.3)]
    for source, target in itertools.permutations(models):
        randomize(source)
        source.save_weights(path)
        assert dataset_shapes(path) == sorted(tuple(weight.shape) for weight in source.weights)
        target.load_weights(path)
        np.testing.assert_array_equal(numpy(target(case.inputs())), numpy(source(case.inputs())))


def dataset_shapes(path):
    shapes = []

    def collect(name, item):
        if isinstance(item, h5py.Dataset):
            shapes.append(item.shape)

    with h5py.File(path) as file:
        file.visititems(collect)
    return sorted(shapes)


@by_case
def test_mixed_bfloat16_keeps_logits_and_weights_in_float32(case):
    exact = case.build()
    for head in exact.head_layers.values():
        # That of some families starts at 0.
        head.kernel.assign(np.random.default_rng(1).normal(0, 0.02, head.kernel.shape))
    with precision("mixed_bfloat16"):
        model = case.build()
    model.set_weights(exact.get_weights())
    logits = model(case.inputs())
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert model.blocks[0].compute_dtype == "bfloat16"
    expected = numpy(exact(case.inputs()))
    assert np.linalg.norm(numpy(logits) - expected) < 2e-2 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name, marks=() if name == "distilled DeiT" else pytest.mark.slow)
        for name, case in CASES.items()
    ],
)
@pytest.mark.backends("torch")
def test_gradient_reaches_every_trainable_variable(case):
    model = case.build_random()
    variables = model.trainable_variables
    before = [numpy(variable) for variable in variables]
    # One step takes less time than tracing it.
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse", run_eagerly=True)
    target = np.random.default_rng(3).normal(size=(len(case.inputs()), model.num_classes))
    model.train_on_batch(case.inputs(), target)
    # A sign has no gradient beyond ±1, where most inputs of the random weights are.
    smallest = 1e-7 if case.kind is BinaryViT else 1e-6
    for variable, value in zip(variables, before, strict=True):
        if has_gradient(case, variable):
            assert np.abs(numpy(variable) - value).max() > smallest, variable.path
