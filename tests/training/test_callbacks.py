"""What watches a training."""

import keras
import pytest

from keras_deit.errors import InputError
from keras_deit.training.callbacks import FiniteLoss, StepTimer, save_weights


def test_the_first_loss_that_is_not_finite_is_named():
    watch = FiniteLoss("runs/x/last.weights.h5")
    watch.on_epoch_begin(0)
    for step in range(3):
        watch.on_train_batch_end(step, {"loss": 2.0})
    watch.on_epoch_begin(1)
    watch.on_train_batch_end(0, {"loss": 1.0})
    with pytest.raises(InputError, match=r"nan at step 5 \(epoch 2\).*runs/x/last.weights.h5"):
        watch.on_train_batch_end(1, {"loss": float("nan")})
    with pytest.raises(InputError, match="inf at step 6"):
        watch.on_train_batch_end(2, {"loss": float("inf")})


def test_the_timer_counts_the_steps_that_follow_another(monkeypatch):
    times = iter([1.0, 1.5, 2.5, 100.0, 100.25])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    timer = StepTimer()
    assert timer.median() is None
    for steps in (3, 2):
        timer.on_epoch_begin(0)
        for step in range(steps):
            timer.on_train_batch_end(step)
    assert timer.seconds == [0.5, 1.0, 0.25]
    assert timer.median() == 0.5


def test_weights_that_cannot_be_written_leave_the_old_ones(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    path = tmp_path / "last.weights.h5"
    save_weights(model, path)
    before = path.read_bytes()

    def full_disk(partial):
        partial.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(model, "save_weights", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_weights(model, path)
    assert path.read_bytes() == before
