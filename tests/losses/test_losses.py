"""Each loss equals NumPy."""

import keras
import numpy as np
import numpy_reference as reference
import pytest
from harness import numpy

from keras_deit import InputError
from keras_deit.losses import (
    LABEL_LOSSES,
    BinaryLabelCrossentropy,
    HardDistillation,
    LabelCrossentropy,
    SigmoidLabelCrossentropy,
    SoftDistillation,
    label_loss,
)

pytestmark = pytest.mark.backends("tensorflow", "jax", "torch")

RNG = np.random.default_rng(0)
TEACHER = RNG.normal(0, 3, (5, 4)).astype("float32")
STUDENT = RNG.normal(0, 3, (5, 4)).astype("float32")
WEIGHTS = RNG.uniform(0, 2, 5).astype("float32")
DISTRIBUTIONS = RNG.dirichlet(np.ones(4), 5).astype("float32")
INTEGERS = np.array([3, 0, 1, 1, 2])
# Labels after Mixup: one class, or two with λ and 1 − λ.
MIXED = np.array(
    [[0, 0, 0, 1], [0.99, 0, 0.01, 0], [0, 0.5, 0.5, 0], [0, 1, 0, 0], [0.3, 0, 0, 0.7]], "float32"
)

CASES = {
    "integers": (
        LabelCrossentropy(),
        INTEGERS,
        reference.label_crossentropy(INTEGERS, STUDENT),
    ),
    "a column of integers": (
        LabelCrossentropy(),
        INTEGERS[:, None],
        reference.label_crossentropy(INTEGERS, STUDENT),
    ),
    "distributions": (
        LabelCrossentropy(),
        DISTRIBUTIONS,
        reference.label_crossentropy(DISTRIBUTIONS, STUDENT),
    ),
    "binary, integers": (
        BinaryLabelCrossentropy(),
        INTEGERS,
        reference.binary_label_crossentropy(INTEGERS, STUDENT),
    ),
    "binary, a column of integers": (
        BinaryLabelCrossentropy(),
        INTEGERS[:, None],
        reference.binary_label_crossentropy(INTEGERS, STUDENT),
    ),
    "binary, mixed": (
        BinaryLabelCrossentropy(),
        MIXED,
        reference.binary_label_crossentropy(MIXED, STUDENT),
    ),
    "sigmoid, integers": (
        SigmoidLabelCrossentropy(),
        INTEGERS,
        4 * reference.binary_label_crossentropy(INTEGERS, STUDENT),
    ),
    "sigmoid, a column of integers": (
        SigmoidLabelCrossentropy(),
        INTEGERS[:, None],
        4 * reference.binary_label_crossentropy(INTEGERS, STUDENT),
    ),
    "sigmoid, mixed": (
        SigmoidLabelCrossentropy(),
        MIXED,
        reference.sigmoid_label_crossentropy(MIXED, STUDENT),
    ),
    "hard": (HardDistillation(), TEACHER, reference.hard_distillation(TEACHER, STUDENT)),
    "soft": (SoftDistillation(), TEACHER, reference.soft_distillation(TEACHER, STUDENT, 3.0)),
    "soft, τ=1": (
        SoftDistillation(temperature=1.0),
        TEACHER,
        reference.soft_distillation(TEACHER, STUDENT, 1.0),
    ),
}

by_case = pytest.mark.parametrize(("loss", "target", "values"), CASES.values(), ids=CASES)


@by_case
def test_loss_is_the_mean_over_the_batch(loss, target, values):
    np.testing.assert_allclose(numpy(loss(target, STUDENT)), values.mean(), rtol=1e-5)


@by_case
def test_samples_are_weighted(loss, target, values):
    weighted = numpy(loss(target, STUDENT, sample_weight=WEIGHTS))
    np.testing.assert_allclose(weighted, (values * WEIGHTS).mean(), rtol=1e-5)


@pytest.mark.backends("tensorflow")
@by_case
def test_configuration_round_trip(loss, target, values):
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(twin) is type(loss)
    assert twin.get_config() == loss.get_config()
    np.testing.assert_array_equal(numpy(twin(target, STUDENT)), numpy(loss(target, STUDENT)))


@pytest.mark.backends("tensorflow")
def test_configuration_of_the_soft_loss_has_every_argument():
    config = SoftDistillation(temperature=2.5, name="kd", reduction="sum").get_config()
    assert (config["temperature"], config["name"], config["reduction"]) == (2.5, "kd", "sum")


def test_losses_of_logits_whose_exponentials_overflow():
    teacher = np.array([[0, 1e4, 0]], "float32")
    student = np.array([[1e4, 0, -1e4]], "float32")
    assert numpy(LabelCrossentropy()(np.array([2]), student)) == 2e4
    assert numpy(HardDistillation()(teacher, student)) == 1e4
    np.testing.assert_allclose(numpy(SoftDistillation(2.0)(teacher, student)), 2e4, rtol=1e-6)


def test_soft_loss_of_the_teacher_itself_is_0():
    assert abs(numpy(SoftDistillation()(TEACHER, TEACHER))) < 1e-6


def test_as_many_samples_as_classes_are_still_integers():
    labels = np.array([3, 0, 1, 1])
    expected = reference.label_crossentropy(labels, STUDENT[:4]).mean()
    np.testing.assert_allclose(numpy(LabelCrossentropy()(labels, STUDENT[:4])), expected, rtol=1e-5)


# Only TensorFlow has shapes that are known at run time.
@pytest.mark.backends("tensorflow")
@pytest.mark.parametrize(("labels", "logits"), [(5, None), (None, 5), (None, None)])
def test_distributions_are_recognized_without_a_batch_size(labels, logits):
    import tensorflow as tf

    specs = [tf.TensorSpec((size, 4), tf.float32) for size in (labels, logits)]
    loss = tf.function(LabelCrossentropy(), input_signature=specs)
    expected = reference.label_crossentropy(DISTRIBUTIONS, STUDENT).mean()
    np.testing.assert_allclose(loss(DISTRIBUTIONS, STUDENT), expected, rtol=1e-5)


def test_binary_loss_of_large_logits_is_finite():
    logits = np.array([[300.0, -300.0, 300.0, -300.0]], "float32")
    loss = numpy(BinaryLabelCrossentropy()(np.array([[1.0, 1.0, 0.0, 0.0]]), logits))
    assert loss == pytest.approx(600 / 4)


@pytest.mark.backends("tensorflow")
def test_label_losses_by_name():
    assert {name: type(label_loss(name)) for name in LABEL_LOSSES} == LABEL_LOSSES
    with pytest.raises(InputError, match=r"cross_entropie.*cross_entropy"):
        label_loss("cross_entropie")


@pytest.mark.parametrize("temperature", [1e-2, 1.0, 3.0, 1e3, 1e4, 1e5])
def test_soft_distillation_is_accurate_at_every_temperature(temperature):
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(0, 3, (2, 16, 10)).astype("float32")
    expected = reference.soft_distillation(teacher, student, temperature)
    loss = SoftDistillation(temperature, reduction=None)
    np.testing.assert_allclose(numpy(loss(teacher, student)), expected, rtol=2e-6, atol=1e-30)
    np.testing.assert_array_equal(numpy(loss(teacher, teacher)), 0)
