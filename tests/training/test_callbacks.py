"""What watches a training."""

import keras
import numpy as np
import pytest
from run_files import files_no_longer_than

from keras_deit.core.errors import InputError
from keras_deit.optimizers import SGD
from keras_deit.training.callbacks import FiniteSteps, StepTimer, save_weights


def _model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile(SGD(0.1), loss="mse")
    return model, np.ones((3, 2), "float32"), np.ones((3, 2), "float32")


def test_a_step_without_finite_gradients_stops_the_training_and_is_named():
    model, x, y = _model()
    watch = FiniteSteps(steps_per_epoch=2, kept=lambda: "kept")
    watch.set_model(model)
    for _ in range(3):
        model.train_on_batch(x, y)
    watch.require_finite()
    before = model.get_weights()
    model.train_on_batch(x, np.full_like(y, np.nan))
    with pytest.raises(InputError, match=r"not finite at step 4 \(epoch 2\).*is kept\.") as error:
        watch.require_finite()
    assert "\n" not in str(error.value)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_step_in_parts_is_named_as_a_step_and_only_what_can_be_done_is_offered():
    model, x, y = _model()
    watch = FiniteSteps(steps_per_epoch=2, on_nan=None, parts=2)
    watch.set_model(model)
    for target in (y, y, y, y, y, y * np.nan):
        model.train_on_batch(x, target)
    with pytest.raises(InputError, match=r"not finite at step 3 \(epoch 2\); a lower"):
        watch.require_finite()


def test_skipped_steps_are_counted():
    model, x, y = _model()
    watch = FiniteSteps(steps_per_epoch=2, on_nan="skip")
    watch.set_model(model)
    for target in (y, y * np.inf, y, y * np.nan):
        model.train_on_batch(x, target)
    watch.on_epoch_end(0, {"loss": float("nan")})
    assert watch.skipped == 2
    with pytest.raises(InputError, match="validation loss became inf in epoch 3"):
        watch.on_epoch_end(2, {"val_loss": float("inf")})


def test_the_timer_takes_the_time_of_an_epochs_other_steps(monkeypatch):
    times = iter([1.0, 3.0, 10.0, 10.5])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    timer = StepTimer()
    assert timer.median() is None
    timer.first_step_ended({"loss": 1.0})
    timer.epoch_ended(steps=3, elsewhere=1.0)
    timer.first_step_ended({"loss": 1.0})
    timer.epoch_ended(steps=3, elsewhere=0.0)
    timer.epoch_ended(steps=1, elsewhere=0.0)
    assert timer.seconds == [0.5, 0.25]
    assert timer.median() == 0.375


def test_weights_that_cannot_be_written_leave_the_old_ones(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    path = tmp_path / "last.weights.h5"
    save_weights(model, path)
    before = path.read_bytes()
    model.set_weights([2 + weight for weight in model.get_weights()])
    # HDF5 would end the process here.
    with files_no_longer_than(3000), pytest.raises(OSError, match="File too large"):
        save_weights(model, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    save_weights(model, path)
    assert path.read_bytes() != before
