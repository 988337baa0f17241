"""Trainings with a time limit: how many steps fit into it is measured once, and remembered."""

import dataclasses
import math
import pathlib
import time
import warnings
from collections.abc import Iterator

import keras

from keras_deit.core.errors import corrupt_as_input_error
from keras_deit.core.files import read_json, write_json
from keras_deit.core.keras_internals import build_from_first_batch
from keras_deit.core.processes import all_gather, barrier, is_writer
from keras_deit.objectives import TrainingModel
from keras_deit.optimizers import Optimization, learning_rate_schedule
from keras_deit.training.checkpoints import TrainingState
from keras_deit.training.loop import TrainingData

# The first steps are not timed: one compiles, and the next ones have batches that were prepared
# meanwhile.
_UNTIMED_STEPS = 16
# How long the speed is measured after them.
_MIN_STEPS, _MIN_SECONDS, _MAX_SHARE = 20, 3.0, 0.1
# The warm-up takes at most this share of the steps.
_MAX_WARMUP = 0.2
# What is left of the time for the last evaluation, weights, checkpoints, and a machine that slows
# down.
_MARGIN = 0.9
# How often a training with a time limit is validated.
VALIDATIONS = 10


def limit(
    end: float,
    file: pathlib.Path,
    model: TrainingModel,
    data: TrainingData,
    optimization: Optimization,
    final_passes: float = 0,
) -> tuple[Optimization, TrainingData]:
    """Returns the optimization and the data of as many steps as can be done until a time.

    Args:
        end: time of `time.monotonic()`, in seconds.
        file: remembers the number of steps, so that a training that is stopped and resumed has the
            same schedule.
        model: compiled with an optimizer whose schedule is adjustable.
        data: data of the training.
        optimization: with any number of epochs.
        final_passes: images that are evaluated after the last step, in validation splits.
    """
    if not file.is_file():
        # All processes must do the same number of steps.
        counts = all_gather([str(steps_until(end, model, data, final_passes))])
        if is_writer():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, {"steps": min(map(int, counts))})
        barrier("steps")
    micro_batches = optimization.accumulation_steps
    complaint = f"{file} is corrupt"
    with corrupt_as_input_error(complaint):
        steps = max(1, read_json(file, complaint)["steps"] // micro_batches)
    optimization, per_epoch = optimization.with_steps(steps, _MAX_WARMUP).in_epochs(
        data.steps_per_epoch // micro_batches
    )
    schedule = learning_rate_schedule(optimization, per_epoch)
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    optimizer.set_schedule(schedule.total_steps, schedule.warmup_steps)
    every = max(data.validation_epochs, math.ceil(optimization.epochs / VALIDATIONS))
    return optimization, dataclasses.replace(
        data, steps_per_epoch=per_epoch * micro_batches, validation_epochs=every
    )


def steps_until(end: float, model: TrainingModel, data: TrainingData, final_passes: float) -> int:
    """Returns how many batches of a training can be done until a time.

    Some steps and a validation are done and timed, with the very functions that the training then
    uses, so that nothing is compiled twice. After that all variables and random generators are put
    back to what they were.

    Args:
        end: time of `time.monotonic()`, in seconds.
        model: compiled.
        data: data of the training.
        final_passes: images that are evaluated after the last step, in validation splits.
    """
    batches = build_from_first_batch(model, data.batches(0))
    state = TrainingState(model, model.objective.teacher)
    values = state.read()
    timer = _Timer(end)
    with warnings.catch_warnings():
        # Keras does not know how long a pass is.
        warnings.filterwarnings("ignore", message="Your input ran out of data")
        model.fit(timer.while_needed(batches), callbacks=[timer], shuffle=False, verbose=0)
        validation_seconds = _validation_seconds(data)
    state.assign(values, "the beginning of the training", 1)
    data.bad_images.restore(())
    left = _MARGIN * (end - time.monotonic())
    left -= validation_seconds * (VALIDATIONS + final_passes)
    return max(1, int(left / timer.seconds_per_step()))


def _validation_seconds(data: TrainingData) -> float:
    """Returns how long a validation takes after the first one, which compiles."""
    if data.validate is None:
        return 0.0
    data.validate(keras.callbacks.Callback())
    start = time.monotonic()
    data.validate(keras.callbacks.Callback())
    return time.monotonic() - start


class _Timer(keras.callbacks.Callback):
    """Times steps.

    Args:
        end: time of `time.monotonic()` at which the training ends.
    """

    def __init__(self, end: float):
        super().__init__()
        self._longest = _MAX_SHARE * (end - time.monotonic())
        self._compiled = self._first = None
        self._steps = 0

    def while_needed(self, batches: Iterator) -> Iterator:
        """Yields batches until enough steps are done."""
        for batch in batches:
            yield batch
            if self._first is not None:
                seconds = time.monotonic() - self._first
                enough = self._steps >= _MIN_STEPS and seconds >= _MIN_SECONDS
                if enough or seconds >= max(self._longest, _MIN_SECONDS):
                    return

    def on_train_batch_end(self, batch, logs=None):
        if self._first is not None:
            self._steps += 1
            return
        # Reading a figure waits for the step, which a backend may still be computing.
        float(logs["loss"])
        now = time.monotonic()
        self._compiled = self._compiled or now
        if batch >= _UNTIMED_STEPS or now - self._compiled >= self._longest:
            self._first = now

    def on_train_end(self, logs=None):
        # Keras has read the figures of the last step by now.
        self._last = time.monotonic()

    def seconds_per_step(self) -> float:
        """Returns the mean of all steps after the first one."""
        return (self._last - self._first) / max(self._steps, 1)
