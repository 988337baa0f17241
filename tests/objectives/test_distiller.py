"""The distillation loss and its metrics against NumPy, and what the Distiller refuses."""

import keras
import numpy as np
import pytest
from harness import numpy
from small_models import (
    CLASSES,
    JIT,
    assert_logs,
    batch,
    expected_logs,
    give_values,
    small_student,
    small_teacher,
)

from keras_deit import Distiller, InputError
from keras_deit.layers import StochasticDepth
from keras_deit.optimizers import AdamW

on_all_backends = pytest.mark.backends("tensorflow", "jax", "torch")


def compiled(distilled=True, rate=0.1, **values) -> Distiller:
    distiller = Distiller(small_student(distilled), small_teacher(), **values)
    distiller.compile(optimizer=keras.optimizers.SGD(rate), jit_compile=JIT)
    return distiller


@pytest.mark.parametrize(
    ("labels", "distilled"),
    [
        ("integers", True),
        ("distributions", True),
        pytest.param("a column", True, marks=pytest.mark.slow),
        pytest.param("integers", False, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("kind", ["hard", "soft", "none"])
def test_a_training_step_agrees_with_numpy(kind, labels, distilled):
    distiller = compiled(distilled, kind=kind, alpha=0.3, temperature=2.0)
    x, y, _ = batch(labels=labels)
    expected = expected_logs(distiller, x, y, with_teacher=kind != "none")
    assert_logs(distiller.train_on_batch(x, y, return_dict=True), expected)


@pytest.mark.parametrize("kind", [pytest.param("hard", marks=on_all_backends), "soft", "none"])
def test_a_training_step_with_sample_weights_agrees_with_numpy(kind):
    distiller = compiled(kind=kind, alpha=0.3)
    x, y, weights = batch()
    expected = expected_logs(distiller, x, y, weights, with_teacher=kind != "none")
    assert_logs(distiller.train_on_batch(x, y, weights, return_dict=True), expected)


@pytest.mark.parametrize(
    ("kind", "validate_agreement", "distilled"),
    [
        pytest.param("soft", True, True, marks=on_all_backends),
        ("hard", True, True),
        ("hard", False, True),
        ("none", True, True),
        *[
            pytest.param(*values, marks=pytest.mark.slow)
            for values in [
                ("soft", False, True),
                ("none", False, True),
                *((kind, True, False) for kind in ("hard", "soft", "none")),
            ]
        ],
    ],
)
def test_evaluation_agrees_with_numpy(kind, validate_agreement, distilled):
    distiller = compiled(distilled, kind=kind, alpha=0.3, validate_agreement=validate_agreement)
    x, y, _ = batch(count=10)
    expected = expected_logs(distiller, x, y, with_teacher=validate_agreement)
    # The last of the three batches is smaller.
    assert_logs(distiller.evaluate(x, y, batch_size=4, verbose=0, return_dict=True), expected)
    assert_logs(distiller.test_on_batch(x, y, return_dict=True), expected)


@on_all_backends
def test_training_and_validation_in_fit_log_their_own_names():
    distiller = compiled()
    x, y, _ = batch()
    history = distiller.fit(x, y, validation_data=(x, y), verbose=0).history
    both = {"loss", "class_loss", "accuracy", "class_accuracy", "distillation_accuracy"}
    training = both | {"distillation_loss", "agreement"}
    assert set(history) == training | {f"val_{name}" for name in both}
    expected = expected_logs(distiller, x, y, with_teacher=False)
    assert_logs({name: history[f"val_{name}"][0] for name in both}, expected)


def test_given_loss_sees_the_class_logits_and_given_metrics_the_fused_ones():
    distiller = compiled(kind="hard", alpha=0.0)
    x, y, _ = batch(labels="distributions")
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)
    metric = keras.metrics.TopKCategoricalAccuracy(k=2, name="top2")
    distiller.compile(optimizer="sgd", loss=loss, metrics=[metric], jit_compile=JIT)
    fused = numpy(distiller.student(x))
    second = np.sort(fused, axis=-1)[:, -2]
    top2 = (fused[np.arange(len(x)), y.argmax(axis=-1)] >= second).mean()
    smoothed = expected_logs(distiller, x, 0.8 * y + 0.2 / 3)["class_loss"]
    logs = distiller.evaluate(x, y, verbose=0, return_dict=True)
    np.testing.assert_allclose([logs["top2"], logs["loss"]], [top2, smoothed], rtol=1e-5)


@pytest.mark.slow
def test_each_head_learns_from_its_own_target():
    """The labels contradict the teacher, and each head agrees with its own target in the end."""
    student, teacher = small_student(), small_teacher()
    x, _, _ = batch()
    decisions = numpy(teacher(x)).argmax(axis=-1)
    labels = (decisions + 1) % 3
    distiller = Distiller(student, teacher, kind="hard")
    distiller.compile(optimizer=keras.optimizers.Adam(0.03), jit_compile=JIT)
    distiller.fit(np.tile(x, (60, 1, 1, 1)), np.tile(labels, 60), batch_size=6, verbose=0)
    heads = {name: numpy(logits).argmax(axis=-1) for name, logits in student.heads(x).items()}
    np.testing.assert_array_equal(heads["class"], labels)
    np.testing.assert_array_equal(heads["distillation"], decisions)


def test_gradient_reaches_every_variable_of_the_student():
    distiller = compiled(rate=1.0)
    assert {id(v) for v in distiller.trainable_variables} == {
        id(v) for v in distiller.student.trainable_variables
    }
    before = [numpy(variable) for variable in distiller.trainable_variables]
    distiller.train_on_batch(*batch()[:2])
    for variable, values in zip(distiller.trainable_variables, before, strict=True):
        assert np.abs(numpy(variable) - values).max() > 1e-6, variable.path


def test_predictions_are_the_logits_of_each_head_by_name():
    distiller, (x, _, _) = compiled(), batch()
    heads = distiller.student.heads(x)
    outputs = distiller.predict(x, verbose=0)
    assert set(outputs) == {"class", "distillation"}
    for name, logits in outputs.items():
        np.testing.assert_allclose(logits, numpy(heads[name]), rtol=1e-5, atol=1e-6)


def test_any_functional_classifier_is_a_student():
    teacher, student = small_teacher(), small_teacher()
    distiller = Distiller(student, teacher, kind="soft", alpha=0.4)
    distiller.compile(optimizer="sgd", jit_compile=JIT)
    x, y, _ = batch()
    # In training the batch normalization would give other logits.
    distiller.objective.validate_agreement = True
    expected = expected_logs(distiller, x, y)
    assert_logs(distiller.evaluate(x, y, verbose=0, return_dict=True), expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "medium"}, "distillation .*'medium'"),
        ({"alpha": 1.5}, "alpha .*1.5"),
        ({"alpha": -0.1}, "alpha .*-0.1"),
        ({"temperature": 0}, "temperature .*0"),
        ({"teacher": None}, "hard .*teacher"),
        ({"teacher": None, "kind": "soft"}, "soft .*teacher"),
        ({"teacher": small_teacher(classes=4)}, "4 classes .* 3;"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else next(iter(value)),
)
def test_bad_arguments_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        Distiller(**{"student": small_student(), "teacher": small_teacher(), **values})


def test_without_distillation_no_teacher_is_needed():
    distiller = Distiller(small_student(), kind="none")
    distiller.compile(optimizer="sgd", jit_compile=JIT)
    x, y, _ = batch()
    expected = expected_logs(distiller, x, y, with_teacher=False)
    assert_logs(distiller.train_on_batch(x, y, return_dict=True), expected)


def _noisy_student(rate=0.5):
    """Returns a model with stochastic depth and batch statistics."""
    images = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization(momentum=0.5)(keras.layers.Conv2D(4, 3)(images))
    x = keras.layers.GlobalAveragePooling2D()(StochasticDepth(rate)(x))
    model = keras.Model(images, keras.layers.Dense(CLASSES)(x))
    return give_values(model, np.random.default_rng(1))


@pytest.mark.parametrize("training_mode", [True, pytest.param(False, marks=on_all_backends)])
def test_training_mode_decides_on_stochastic_depth_and_batch_statistics(training_mode):
    x, y, _ = batch()
    distiller = Distiller(_noisy_student(), kind="none", training_mode=training_mode)
    assert Distiller.from_config(distiller.get_config()).training_mode == training_mode
    distiller.compile(keras.optimizers.SGD(0.1), jit_compile=JIT)
    student = distiller.student
    before = {weight.path: numpy(weight) for weight in student.weights}
    expected = expected_logs(distiller, x, y, with_teacher=False)
    logs = distiller.train_on_batch(x, y, return_dict=True)
    assert (abs(float(logs["loss"]) - expected["loss"]) > 1e-3) == training_mode
    changed = [w.name for w in student.weights if not np.array_equal(numpy(w), before[w.path])]
    assert ("moving_mean" in changed) == ("moving_variance" in changed) == training_mode
    assert changed.count("kernel") == 2


@pytest.mark.slow
@on_all_backends
def test_a_skipped_step_changes_neither_weights_nor_statistics():
    x, y, _ = batch(12)
    kept = np.r_[0:4, 8:12]
    trained = []
    with_nan = x.copy()
    with_nan[5] = np.nan
    for images, rows in ((x, kept), (with_nan, slice(12))):
        keras.utils.set_random_seed(0)
        distiller = Distiller(_noisy_student(0.0), kind="none", ema_decay=0.5, skip_nonfinite=True)
        distiller.compile(AdamW(0.01))
        distiller.fit(images[rows], y[rows], batch_size=4, shuffle=False, verbose=0)
        trained.append(distiller)
    one, other = trained
    assert int(numpy(other.optimizer.nonfinite_steps)) == 1
    for first, second in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)
