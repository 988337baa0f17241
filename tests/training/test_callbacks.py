"""Finite checks and timing."""

import keras
import numpy as np
import pytest

from keras_deit.core.errors import InputError
from keras_deit.optimizers import SGD
from keras_deit.training.callbacks import FiniteCheck, StepTimer

on_every_backend = pytest.mark.backends("tensorflow", "jax", "torch")


def _model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile(SGD(0.1), loss="mse")
    return model, np.ones((3, 2), "float32"), np.ones((3, 2), "float32")


@on_every_backend
def test_a_step_without_finite_gradients_stops_the_training_and_is_named():
    model, x, y = _model()
    check = FiniteCheck(steps_per_epoch=2, latest=lambda: "a-checkpoint")
    check.set_model(model)
    for _ in range(3):
        model.train_on_batch(x, y)
    check.require_finite()
    before = model.get_weights()
    model.train_on_batch(x, np.full_like(y, np.nan))
    with pytest.raises(InputError, match=r"step 4 \(epoch 2\).*on_nan.*a-checkpoint") as error:
        check.require_finite()
    assert "\n" not in str(error.value)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_micro_batch_is_named_by_its_step_and_no_flag_is_offered_that_does_not_exist():
    model, x, y = _model()
    check = FiniteCheck(steps_per_epoch=2, on_nan=None, micro_batches=2)
    check.set_model(model)
    for target in (y, y, y, y, y, y * np.nan):
        model.train_on_batch(x, target)
    with pytest.raises(InputError, match=r"step 3 \(epoch 2\)") as error:
        check.require_finite()
    assert "on_nan" not in str(error.value)


@on_every_backend
def test_skipped_steps_are_counted():
    model, x, y = _model()
    check = FiniteCheck(steps_per_epoch=2, on_nan="skip")
    check.set_model(model)
    for target in (y, y * np.inf, y, y * np.nan):
        model.train_on_batch(x, target)
    check.on_epoch_end(0, {"loss": float("nan")})
    assert check.skipped == 2
    with pytest.raises(InputError, match="validation loss became inf in epoch 3"):
        check.on_epoch_end(2, {"val_loss": float("inf")})


def test_the_timer_measures_all_steps_of_an_epoch_but_the_first(monkeypatch):
    times = iter([1.0, 3.0, 10.0, 10.5])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    timer = StepTimer()
    assert timer.median() is None
    timer.first_step_ended({"loss": 1.0})
    timer.epoch_ended(steps=3, other_seconds=1.0)
    timer.first_step_ended({"loss": 1.0})
    timer.epoch_ended(steps=3, other_seconds=0.0)
    timer.epoch_ended(steps=1, other_seconds=0.0)
    assert timer.seconds == [0.5, 0.25]
    assert timer.median() == 0.375
