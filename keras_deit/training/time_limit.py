"""Trainings with a time limit: how many steps fit into it is measured before and meanwhile."""

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
from keras_deit.core.progress import progress_logger
from keras_deit.objectives import TrainingModel
from keras_deit.optimizers import Optimization, learning_rate_schedule
from keras_deit.training.checkpoints import Progress, TrainingState
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
# The same between epochs, when the speed is known better.
_MARGIN_AT_LAST = 0.95
# There are more epochs than before if so many times as many fit.
_MANY_MORE = 1.1
# The weight of the last epoch in the mean time of an epoch, after the first five.
_RECENT = 0.2
# What comes after the last step besides evaluations: files, a report, the end of the process.
_FINAL_SECONDS = 5.0
# How often a training with a time limit is validated.
VALIDATIONS = 10


class TimeLimit:
    """The number of epochs of a training that ends at a time.

    How many steps fit is measured before the first of them. Between epochs they become fewer if
    the rest would take too long, and more if many more fit, since the speed of a machine changes
    with what else it does. A checkpoint has the present number, and how much time is left.

    Args:
        end: time of `time.monotonic()`, in seconds.
        file: remembers the number of steps that was measured, so that a training that is stopped
            and resumed has the same schedule.
        model: compiled with an optimizer whose schedule is adjustable.
        data: data of the training.
        optimization: with any number of epochs.
        final_passes: images that are evaluated after the last step, in validation splits.
        minutes: of the whole training, if it can be extended. A checkpoint of fewer minutes has the
            further ones, too.
        started: minutes that the training was started with.

    Attributes:
        optimization, data: of as many steps as were measured to fit.
        epochs: the present number of epochs.
        schedule: the present learning rates, a function of the step of the optimizer.
    """

    def __init__(
        self,
        end: float,
        file: pathlib.Path,
        model: TrainingModel,
        data: TrainingData,
        optimization: Optimization,
        final_passes: float = 0,
        minutes: float | None = None,
        started: float | None = None,
    ):
        self._minutes = minutes
        self._end, self._model, self._final_passes = end, model, final_passes
        micro_batches = optimization.accumulation_steps
        # Steps and validations are compiled by the first ones of a process, which are not timed.
        self._compiled = not file.is_file()
        if self._compiled:
            batches, validation_seconds = steps_until(end, model, data, final_passes)
            values = {
                # All processes must do the same number of steps.
                "steps": max(1, _least(batches) // micro_batches),
                "min_epochs": VALIDATIONS,
                "validation_seconds": validation_seconds,
                **({} if started is None else {"minutes": started}),
            }
            if is_writer():
                file.parent.mkdir(parents=True, exist_ok=True)
                write_json(file, values)
            barrier("steps")
        complaint = f"{file} is corrupt"
        with corrupt_as_input_error(complaint):
            stored = read_json(file, complaint)
            # An earlier version counted batches, and had epochs of any length.
            micro = 1 if "min_epochs" in stored else micro_batches
            steps = max(1, stored["steps"] // micro)
            min_epochs = max(1, int(stored.get("min_epochs", 1)))
            self._validation_seconds = float(stored.get("validation_seconds", 0.0))
            started = stored.get("minutes", started)
            self._started = None if started is None else float(started)
        if self._started is not None and "minutes" not in stored and is_writer():
            # Of an earlier version, whose checkpoints do not say it.
            write_json(file, {**stored, "minutes": started})
        self.optimization, self._steps_per_epoch = optimization.with_steps(
            steps, _MAX_WARMUP
        ).in_epochs(data.steps_per_epoch // micro_batches, min_epochs)
        every = math.ceil(self.optimization.epochs / VALIDATIONS)
        self.data = dataclasses.replace(
            data,
            steps_per_epoch=self._steps_per_epoch * micro_batches,
            validation_epochs=max(data.validation_epochs, every),
        )
        self._timed_epochs, self._seconds_per_epoch, self._last_end = 0, 0.0, None
        self._set(self.optimization.epochs)

    def _set(self, epochs: int) -> None:
        """Sets the number of epochs, also in the schedules."""
        self.epochs = epochs
        steps = epochs * self._steps_per_epoch
        warmup_steps = self.optimization.warmup_steps
        optimization = dataclasses.replace(
            self.optimization,
            epochs=epochs,
            warmup_epochs=min(self.optimization.warmup_epochs, epochs),
            warmup_steps=None if warmup_steps is None else min(warmup_steps, steps),
        )
        self.schedule = learning_rate_schedule(optimization, self._steps_per_epoch)
        optimizer = getattr(self._model.optimizer, "inner_optimizer", self._model.optimizer)
        optimizer.set_schedule(self.schedule.total_steps, self.schedule.warmup_steps)
        if (length := self._model.objective.length) is not None:
            self._model.objective.use_length(dataclasses.replace(length, steps=steps))

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the training should end; None if that is not known."""
        return None if self._end == math.inf else self._end - time.monotonic()

    @property
    def state(self) -> dict:
        """What `Progress` remembers, besides the number of epochs."""
        return {"seconds_left": self.seconds_left, "minutes": self._minutes}

    def start(self, progress: Progress) -> None:
        """Begins to measure; a training that resumes has the epochs and the time that were left.

        One that is extended has the further minutes besides, and as many more epochs as they are
        more, until their speed is known.
        """
        now = time.monotonic()
        before = progress.minutes or self._started
        if progress != Progress() and self._minutes and before and self._minutes > before:
            further = 60 * (self._minutes - before)
            self._end = now + max(0.0, progress.seconds_left or 0.0) + further
            epochs = self.epochs if progress.epochs is None else progress.epochs
            self._set(max(epochs + 1, round(epochs * self._minutes / before)))
        elif progress.seconds_left is not None:
            self._end = now + progress.seconds_left
            self._set(progress.epochs)
        elif progress.epoch or progress.step:
            # An earlier version did not record the time: its number of steps stays.
            self._end = math.inf
        self._last_end = now if self._compiled else None

    def epoch_ended(self, number: int) -> None:
        """Adjusts the number of epochs after one of them, before its validation."""
        now = time.monotonic()
        if self._last_end is not None:
            self._timed_epochs += 1
            share = max(_RECENT, 1 / self._timed_epochs)
            self._seconds_per_epoch += share * (now - self._last_end - self._seconds_per_epoch)
        self._last_end = now
        epochs = _least(self._fitting(number))
        if epochs != self.epochs:
            progress_logger.info(f"{epochs} epochs fit into the time, not {self.epochs}.")
            self._set(epochs)

    def _fitting(self, number: int) -> int:
        """Returns how many epochs there should be after a number of them."""
        if not self._timed_epochs or self._end == math.inf:
            return self.epochs
        validation = self._validation_seconds
        seconds = self._seconds_per_epoch + validation / self.data.validation_epochs
        left = self.seconds_left - validation * (1 + self._final_passes) - _FINAL_SECONDS
        fitting = max(number, number + int(_MARGIN_AT_LAST * left / seconds))
        if (self.epochs - number) * seconds > left or fitting >= _MANY_MORE * self.epochs:
            return fitting
        return self.epochs

    def validated(self) -> None:
        """Records that a validation has ended."""
        now = time.monotonic()
        if self._compiled:
            self._validation_seconds = now - self._last_end
        if self._last_end is not None:
            self._last_end, self._compiled = now, True


def _least(count: int) -> int:
    """Returns the least of the numbers that the processes have found."""
    return min(map(int, all_gather([str(count)])))


def steps_until(
    end: float, model: TrainingModel, data: TrainingData, final_passes: float
) -> tuple[int, float]:
    """Returns how many batches of a training can be done until a time, and the seconds that a
    validation takes.

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
    left = _MARGIN * (end - time.monotonic()) - _FINAL_SECONDS
    left -= validation_seconds * (VALIDATIONS + final_passes)
    return max(1, int(left / timer.seconds_per_step())), validation_seconds


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
