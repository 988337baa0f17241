"""The Distiller as a Keras model: files, precision, compilation."""

import keras
import numpy as np
import pytest
from harness import configuration, numpy
from small_models import assert_logs, batch, expected_logs, small_student, small_teacher

from keras_deit import Distiller
from keras_deit.losses import LabelCrossentropy
from keras_deit.objectives.jit import jit_plan


def weights(model):
    return [numpy(weight) for weight in model.weights]


@pytest.mark.parametrize(
    "distilled",
    [
        pytest.param(True, id="two heads"),
        pytest.param(False, id="one head", marks=pytest.mark.slow),
    ],
)
def test_training_resumes_from_a_file(distilled, tmp_path):
    distiller = Distiller(
        small_student(distilled),
        small_teacher(),
        kind="soft",
        alpha=0.2,
        temperature=2.5,
        validate_agreement=True,
        name="mine",
    )
    distiller.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9), jit_compile=False)
    x, y, _ = batch()
    distiller.train_on_batch(x, y)
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    assert configuration(loaded) == configuration(distiller)
    assert isinstance(loaded.objective.label_loss, LabelCrossentropy)
    for model in (distiller, loaded):
        model.reset_metrics()
        model.train_on_batch(x, y)
    for one, other in zip(weights(distiller), weights(loaded), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
    expected = expected_logs(distiller, x, y)
    assert_logs(loaded.evaluate(x, y, verbose=0, return_dict=True), expected)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("kind", "none"),
        ("alpha", 0.1),
        pytest.param("temperature", 1.0, marks=pytest.mark.slow),
        pytest.param("validate_agreement", False, marks=pytest.mark.slow),
    ],
)
def test_argument_changes_the_logs_and_is_in_the_configuration(argument, value):
    values = {"kind": "soft", "alpha": 0.5, "temperature": 3.0, "validate_agreement": True}
    x, y, _ = batch()

    def logs(distiller):
        distiller.compile(optimizer="sgd", jit_compile=False)
        return distiller.evaluate(x, y, verbose=0, return_dict=True)

    base = Distiller(small_student(), small_teacher(), **values)
    changed = Distiller(small_student(), small_teacher(), **{**values, argument: value})
    rebuilt = Distiller.from_config(changed.get_config())
    rebuilt.set_weights(changed.get_weights())
    assert getattr(rebuilt.objective, argument) == value
    observed = logs(changed)
    assert observed != logs(base)
    assert_logs(logs(rebuilt), observed)


def test_a_distiller_without_a_teacher_is_built_from_its_configuration():
    distiller = Distiller(small_student(), kind="none")
    assert Distiller.from_config(distiller.get_config()).teacher is None


@pytest.mark.parametrize(
    ("kind", "jit_compile"),
    [
        pytest.param("hard", "auto", marks=pytest.mark.slow),
        pytest.param("soft", False, marks=pytest.mark.slow),
        pytest.param("none", False, marks=pytest.mark.slow),
    ],
)
def test_mixed_bfloat16(kind, jit_compile):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        distiller = Distiller(small_student(), small_teacher(), kind=kind)
    finally:
        keras.config.set_dtype_policy("float32")
    distiller.compile(optimizer=keras.optimizers.Adam(0.01), jit_compile=jit_compile)
    x, y, _ = batch()
    outputs = distiller(x)
    assert {keras.backend.standardize_dtype(v.dtype) for v in outputs.values()} == {"float32"}
    assert {weight.dtype for weight in distiller.student.weights} == {"float32"}
    expected = expected_logs(distiller, x, y, with_teacher=kind != "none")
    logs = distiller.train_on_batch(x, y, return_dict=True)
    # Eight bits of mantissa; compiled and uncompiled steps round at different places.
    losses = {name for name in expected if name.endswith("loss")}
    assert_logs({n: logs[n] for n in losses}, {n: expected[n] for n in losses}, tolerance=0.05)
    history = distiller.fit(
        np.tile(x, (30, 1, 1, 1)), np.tile(y, 30), batch_size=6, epochs=2, verbose=0
    ).history
    assert history["loss"][1] < history["loss"][0] < expected["loss"]


@pytest.mark.slow
def test_compiling_the_student_alone_changes_nothing():
    assert jit_plan("auto", small_student()) == (False, True)
    assert jit_plan(True, small_student()) == (False, True)
    assert jit_plan(False, small_student()) == (False, False)
    x, y, _ = batch()

    def train(**values):
        distiller = Distiller(small_student(), small_teacher(), kind="hard")
        distiller.compile(optimizer=keras.optimizers.SGD(0.1), **values)
        logs = [distiller.train_on_batch(x, y, return_dict=True) for _ in range(3)]
        return logs[-1], weights(distiller)

    plain_logs, plain_weights = train(jit_compile=False)
    for values in ({}, {"run_eagerly": True}):
        logs, trained = train(**values)
        assert_logs(logs, plain_logs)
        for one, other in zip(trained, plain_weights, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.backends("jax", "torch")
@pytest.mark.parametrize("wanted", ["auto", True, False])
def test_other_backends_compile_as_keras_does(wanted):
    assert jit_plan(wanted, small_student()) == (wanted, False)


@pytest.mark.slow
def test_two_half_batches_accumulate_to_the_step_of_the_whole_batch():
    x, y, _ = batch()

    def train(size, **values):
        distiller = Distiller(small_student(), small_teacher(), kind="soft")
        optimizer = keras.optimizers.SGD(0.1, **values)
        distiller.compile(optimizer=optimizer, jit_compile=False)
        distiller.fit(x, y, batch_size=size, shuffle=False, verbose=0)
        return weights(distiller)

    for one, other in zip(train(6), train(3, gradient_accumulation_steps=2), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_jit_compile_is_saved_as_it_was_given(tmp_path):
    distiller = Distiller(small_student(), small_teacher())
    assert not distiller.get_compile_config()
    distiller.compile(optimizer="sgd")
    distiller.build((None, *distiller.student.input_shape[1:]))
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    assert loaded.get_compile_config()["jit_compile"] == "auto"


def test_a_student_that_xla_does_not_support_is_not_compiled_by_auto():
    student = small_student()
    student.layers[-1].supports_jit = False
    assert jit_plan("auto", student) == (False, False)
    assert jit_plan(True, student) == (False, True)


def test_regularization_of_the_student_is_added_to_the_loss():
    images = keras.Input((4, 4, 3))
    flat = keras.layers.Flatten()(images)
    logits = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.5))(flat)
    student = keras.Model(images, logits)
    teacher = keras.Sequential(
        [keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    distiller = Distiller(student, teacher, alpha=0.25, validate_agreement=True)
    distiller.compile(optimizer="sgd", jit_compile=False)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 4, 4, 3)).astype("float32"), np.array([0, 1, 2, 1, 0])
    logs = distiller.evaluate(x, y, verbose=0, return_dict=True)
    penalty = 0.5 * float((numpy(student.layers[-1].kernel) ** 2).sum())
    expected = 0.75 * logs["class_loss"] + 0.25 * logs["distillation_loss"] + penalty
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-5)
    probabilities = np.exp(numpy(student(x)))
    probabilities /= probabilities.sum(-1, keepdims=True)
    class_loss = -np.log(probabilities[np.arange(5), y]).mean()
    np.testing.assert_allclose(logs["class_loss"], class_loss, rtol=1e-4)
