"""The EMA of the weights against NumPy, in files, and swapped with the weights."""

import keras
import numpy as np
import pytest
from harness import numpy
from small_models import CLASSES, JIT, batch, give_values, small_student, small_teacher

from keras_deit import Distiller, InputError
from keras_deit.objectives import ExponentialMovingAverage

DECAY = 0.9
on_all_backends = pytest.mark.backends("tensorflow", "jax", "torch")


def student_with_statistics():
    """Returns a model with every kind of weights: trained and frozen ones, batch statistics, and
    the state of a random layer."""
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="frozen")(images)
    x = keras.layers.BatchNormalization(momentum=0.5)(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Dropout(0.2)(x))
    model = keras.Model(images, keras.layers.Dense(CLASSES)(x))
    model.get_layer("frozen").trainable = False
    return model


def train(distiller, steps=5, decay=DECAY):
    """Trains some steps and returns the EMA that is expected after them."""
    x, y, _ = batch()
    student = distiller.student
    expected = [weight.astype("float64") for weight in student.get_weights()]
    updates = 0
    for _ in range(steps):
        before = student.get_weights()
        distiller.train_on_batch(x, y)
        now = student.get_weights()
        if any(not np.array_equal(a, b) for a, b in zip(now, before, strict=True)):
            pairs = zip(expected, now, strict=True)
            now_decay = min(decay, (1 + updates) / (10 + updates))
            if not distiller.ema_warmup:
                now_decay = decay
            expected = [now_decay * a + (1 - now_decay) * weight for a, weight in pairs]
            updates += 1
    return expected


def assert_average(distiller, expected):
    for average, value in zip(distiller.ema.get_weights(), expected, strict=True):
        np.testing.assert_allclose(average, value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("jit_compile", [pytest.param("auto", marks=on_all_backends), False])
def test_all_weights_are_averaged_from_the_first_step_on(jit_compile):
    student = student_with_statistics()
    start = student.get_weights()
    distiller = Distiller(student, small_teacher(), ema_decay=DECAY, ema_warmup=False)
    assert not distiller.ema.trainable_variables
    distiller.compile(keras.optimizers.SGD(0.1), jit_compile=jit_compile)
    expected = train(distiller)
    assert_average(distiller, expected)
    names = [weight.name for weight in student.weights]
    for name, average, value, first in zip(
        names, distiller.ema.get_weights(), student.get_weights(), start, strict=True
    ):
        frozen = name in ("kernel", "bias") and np.array_equal(value, first)
        assert frozen or np.abs(average - value).max() > 1e-3, name
    assert names.count("moving_mean") == 1


@on_all_backends
def test_the_ema_does_not_change_the_trained_weights():
    x, y, _ = batch(12)
    students = []
    for decay in (0.0, DECAY):
        keras.utils.set_random_seed(0)
        distiller = Distiller(small_student(), small_teacher(), ema_decay=decay)
        distiller.compile(keras.optimizers.SGD(0.1, momentum=0.9), jit_compile=JIT)
        distiller.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        students.append(distiller.student.get_weights())
    for plain, averaged in zip(*students, strict=True):
        np.testing.assert_array_equal(plain, averaged)
    distances = zip(distiller.ema.get_weights(), students[1], strict=True)
    assert max(np.abs(average - weight).max() for average, weight in distances) > 1e-3


@on_all_backends
def test_the_decay_grows_until_it_is_reached():
    distiller = Distiller(small_student(), small_teacher(), ema_decay=0.3)
    distiller.compile(keras.optimizers.SGD(0.1), jit_compile=JIT)
    expected = train(distiller, steps=5, decay=0.3)
    assert_average(distiller, expected)


@pytest.mark.slow
def test_the_ema_is_updated_once_in_an_accumulated_step():
    distiller = Distiller(small_student(), small_teacher(), ema_decay=DECAY)
    distiller.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    expected = train(distiller, steps=3)
    assert_average(distiller, expected)
    decay = 1 / 10  # of the first step
    once = [
        decay * first + (1 - decay) * now
        for first, now in zip(
            small_student().get_weights(), distiller.student.get_weights(), strict=True
        )
    ]
    assert_average(distiller, once)


def test_the_ema_is_saved_in_a_file(tmp_path):
    distiller = Distiller(small_student(), small_teacher(), ema_decay=DECAY)
    distiller.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    train(distiller)
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    assert loaded.ema.decay == DECAY
    for one, other in zip(distiller.ema.weights, loaded.ema.weights, strict=True):
        np.testing.assert_array_equal(numpy(one), numpy(other))


def test_swap_weights_restores_the_weights_after_an_error():
    student, (x, _, _) = small_student(), batch()
    ema = ExponentialMovingAverage(student, DECAY)
    give_values(student, np.random.default_rng(5))
    own = student.get_weights()
    with pytest.raises(KeyError), ema.swap_weights(student):
        for weight, average in zip(student.get_weights(), ema.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, average)
        averaged = numpy(student(x))
        raise KeyError
    for weight, before in zip(student.get_weights(), own, strict=True):
        np.testing.assert_array_equal(weight, before)
    assert np.abs(numpy(student(x)) - averaged).max() > 1e-3


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(InputError, match=f"ema_decay .*{decay}"):
        Distiller(small_student(), small_teacher(), ema_decay=decay)
