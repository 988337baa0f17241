"""The training loop: epochs of Keras's `fit` that can stop and resume between any two steps."""

import contextlib
import dataclasses
import itertools
import math
import pathlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import keras

from keras_deit.core.errors import InputError
from keras_deit.core.keras_internals import build_from_first_batch, sync_state
from keras_deit.core.processes import all_gather
from keras_deit.data import BadImages
from keras_deit.objectives import TrainingModel
from keras_deit.optimizers import Optimization, learning_rate_schedule
from keras_deit.training.callbacks import FiniteCheck, ProgressBar, StepTimer
from keras_deit.training.checkpoints import CheckpointManager, Progress, TrainingState
from keras_deit.training.interruption import Interruption, Stopped

if TYPE_CHECKING:
    from keras_deit.training.time_limit import TimeLimit


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """What a model is trained on.

    Attributes:
        batches: called with a number, returns the endless batches from that one on. With
            accumulated gradients, a batch here and in the loop is a micro-batch.
        steps_per_epoch: batches in an epoch.
        validate: called with a callback, returns the figures of a validation; None for none.
        validation_epochs: epochs from one validation to the next; the last one always has one.
        bad_images: those that `batches` could not read; they are part of a checkpoint.
        as_dataset: called with an iterator over the batches of an epoch, returns what `fit` takes.
    """

    batches: Callable[[int], Iterator]
    steps_per_epoch: int
    validate: Callable[[keras.callbacks.Callback], dict[str, float]] | None = None
    validation_epochs: int = 1
    bad_images: BadImages = dataclasses.field(default_factory=BadImages)
    as_dataset: Callable[[Iterator], Iterable] = lambda batches: batches


class TrainingLoop:
    """Trains a compiled model epoch by epoch, from its newest checkpoint on.

    Keras's `fit` does the steps of an epoch, or of the rest of one. Between any two steps the
    training can be checkpointed and resumed with the same result, bit for bit if the backend is
    deterministic. Use it as

        loop.restore()
        with loop.running():
            while not loop.finished:
                loop.train_epoch()
                if loop.validate():
                    ...  # The validation is the best so far.
                loop.end_epoch()

    Args:
        model: compiled.
        title: title of the progress bar.
        data: to train on.
        epochs: number of epochs.
        learning_rate: called with a number of steps, returns the learning rate.
        monitor: figure of the validation, with "val_", that chooses the best epoch.
        mode: "max" or "min".
        teacher: layer whose state is no part of a checkpoint.
        micro_batches: batches whose gradients are accumulated in a step of the optimizer.
        checkpoints: None for no checkpoints.
        callbacks: further ones. They get the events of the training, not of its validation.
        on_nan: "fail", or "skip" to skip steps with non-finite gradients; None if the user cannot
            choose.
        time_limit: changes the number of epochs so that they fit into a time; None for none.

    Attributes:
        epochs: number of epochs.
        progress: how far the training has come.
        timer: has the times of the steps of this process.
        finite: counts the skipped steps.
    """

    def __init__(
        self,
        model: keras.Model,
        title: str,
        data: TrainingData,
        epochs: int,
        learning_rate: Callable,
        monitor: str,
        mode: str,
        teacher: keras.layers.Layer | None = None,
        micro_batches: int = 1,
        checkpoints: CheckpointManager | None = None,
        callbacks: tuple[keras.callbacks.Callback, ...] = (),
        on_nan: str | None = None,
        time_limit: "TimeLimit | None" = None,
    ):
        self.epochs = epochs
        self.progress = Progress()
        self.timer = StepTimer()
        self.checkpoints = checkpoints or CheckpointManager(None)
        self._model = model
        self._title = title
        self._data = data
        self._schedule, self._time_limit = learning_rate, time_limit
        self._monitor, self._mode = monitor, mode
        self._teacher, self._micro_batches = teacher, micro_batches
        steps = data.steps_per_epoch // micro_batches
        self.finite = FiniteCheck(steps, on_nan, lambda: self.checkpoints.latest, micro_batches)
        self._given_callbacks = [self.finite, *callbacks]
        self._interruption = Interruption()
        self._to_restore_in_epoch = None

    @property
    def finished(self) -> bool:
        return self.progress.epoch >= self.epochs

    @property
    def _steps_done(self) -> int:
        return self.progress.epoch * self._data.steps_per_epoch + self.progress.step

    def restore(self) -> None:
        """Builds the model's variables, and restores the newest checkpoint if there is one.

        Raises:
            InputError: no checkpoint can be read, or it is of another training.
        """
        progress, tensors = self.checkpoints.load() or (Progress(), None)
        self.progress = progress.with_micro_batches(self._micro_batches)
        if progress.logs is None and self.progress.step >= self._data.steps_per_epoch:
            # The data have become fewer: the epoch ends with one step more.
            last = self._data.steps_per_epoch - self._micro_batches
            self.progress = dataclasses.replace(self.progress, step=last)
        _require_agreement(f"epoch {progress.epoch + 1}, step {progress.step}")
        batches = self._data.batches(self._steps_done)
        self._batches = build_from_first_batch(self._model, batches)
        self._state = TrainingState(self._model, self._teacher)
        self._data.bad_images.restore(progress.bad_images)
        if tensors is not None:
            source = str(self.checkpoints.latest)
            self._state.assign(tensors, source, progress.micro_batches)
            in_epoch = self.progress.step and self.progress.logs is None
            self._to_restore_in_epoch = tensors if in_epoch else None
        if self._time_limit is not None:
            self._time_limit.start(self.progress)
            self._take_epochs()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Shows a progress bar and handles signals during the block."""
        total = self.epochs * self._data.steps_per_epoch
        bar = ProgressBar(self._title, total, self.epochs, self._steps_done, self._monitor)
        self._callbacks = keras.callbacks.CallbackList(
            [*self._given_callbacks, bar], model=self._model
        )
        self._bar = bar
        with self._interruption.active(), bar, warnings.catch_warnings():
            # Neither Grain nor a generator tells Keras how long a pass is.
            warnings.filterwarnings("ignore", message="Your input ran out of data")
            self._callbacks.on_train_begin()
            if not self.finished:
                self.checkpoints.save_first(self._state, self.progress)
            yield
            self._callbacks.on_train_end()
        # Also if all epochs were done before.
        self.finite.require_finite()

    def train_epoch(self) -> None:
        """Does the steps of the epoch that are left.

        Raises:
            InputError: a gradient is not finite, or a checkpoint cannot be written.
            Stopped: by SIGTERM or Ctrl-C, after a checkpoint was written.
        """
        self._callbacks.on_epoch_begin(self.progress.epoch)
        if self.progress.logs is not None:
            return
        left = self._data.steps_per_epoch - self.progress.step
        epoch, spent = self.progress.epoch, self.checkpoints.seconds_spent
        steps = _Steps(self)
        self._model.fit(
            self._data.as_dataset(_first(self._batches, left)),
            initial_epoch=epoch,
            epochs=epoch + 1,
            steps_per_epoch=left,
            callbacks=[steps],
            shuffle=False,
            verbose=0,
        )
        if steps.done != left:
            raise RuntimeError(f"Keras did {steps.done} of {left} steps of epoch {epoch + 1}.")
        self.timer.epoch_ended(left, self.checkpoints.seconds_spent - spent)
        first_step = epoch * self._data.steps_per_epoch // self._micro_batches
        rate = float(keras.ops.convert_to_numpy(self._schedule(first_step)))
        if self._time_limit is not None:
            self._time_limit.epoch_ended(epoch + 1)
            self._take_epochs()
            self._bar.set_epochs(self.epochs)
        self.progress = dataclasses.replace(
            self.progress,
            step=self._data.steps_per_epoch,
            logs={**steps.logs, "learning_rate": rate},
        )
        self.stop_if_asked()

    def validate(self) -> bool:
        """Validates if it is time to, and adds the epoch to the history.

        Returns:
            Whether the figure that is monitored is the best so far.

        Raises:
            InputError: a loss is not finite, or the validation has not that figure.
            Stopped: by a signal; the validation is then done again after resuming.
        """
        number, every = self.progress.epoch + 1, self._data.validation_epochs
        logs, best = dict(self.progress.logs), self.progress.best
        if self._data.validate is not None and (number % every == 0 or number == self.epochs):
            figures = self._data.validate(_StopInValidation(self))
            if self._time_limit is not None:
                self._time_limit.validated()
            logs |= {f"val_{name}": float(value) for name, value in figures.items()}
            best = self._best(number, logs)
        self._callbacks.on_epoch_end(self.progress.epoch, dict(logs))
        history = (*self.progress.history, {"epoch": self.progress.epoch, **logs})
        improved = best is not self.progress.best
        self.progress = dataclasses.replace(
            self.progress, epoch=number, step=0, logs=None, history=history, best=best
        )
        return improved

    def _take_epochs(self) -> None:
        """Takes over the number of epochs of the time limit."""
        self.epochs, self._schedule = self._time_limit.epochs, self._time_limit.schedule
        self.progress = dataclasses.replace(self.progress, epochs=self.epochs)

    def _best(self, number: int, logs: dict) -> dict:
        """Returns number and figure of the best epoch, after epoch `number`."""
        best, name = self.progress.best, self._monitor
        sign = -1 if self._mode == "min" else 1
        if name not in logs:
            raise InputError(
                f"The best epoch is that of {name}, which is not among the figures of an epoch: "
                f"{', '.join(logs)}."
            )
        if sign * logs[name] > sign * best.get(name, -sign * math.inf):
            return {"epoch": number, name: logs[name]}
        return best

    def end_epoch(self) -> None:
        """Writes a checkpoint if it is time to or all epochs are done."""
        self.checkpoint_if_due(at_once=self.finished)

    def step_begins(self) -> None:
        """Passes the beginning of a step on to the callbacks."""
        self._callbacks.on_train_batch_begin(self.progress.step)

    def step_ends(self, logs: dict) -> None:
        """Passes the end of a step on, and checkpoints or stops if it is time to."""
        self.progress = dataclasses.replace(self.progress, step=self.progress.step + 1)
        step = self.progress.step
        self._callbacks.on_train_batch_end(step - 1, logs)
        # After the last step the epoch ends. Between micro-batches gradients are accumulated, and
        # only a training with as many micro-batches could resume from there.
        if step == self._data.steps_per_epoch:
            self._state.capture_random_state()
        elif step % self._micro_batches == 0:
            self.checkpoint_if_due()

    def restore_metrics(self) -> None:
        """Restores the running means in the epoch of the checkpoint, after Keras has reset them."""
        if self._to_restore_in_epoch is not None:
            self._state.assign_metrics(self._to_restore_in_epoch)
            self._to_restore_in_epoch = None

    def restore_random_state(self) -> None:
        """Restores the generators before the first step of a `fit`."""
        self._state.restore_random_state()

    def checkpoint_if_due(self, at_once: bool = False) -> None:
        """Stops if a signal was received, and writes a checkpoint if it is time to."""
        self.stop_if_asked()
        if at_once or self.checkpoints.due():
            self._save()

    def stop_if_asked(self) -> None:
        """Writes a checkpoint and raises `Stopped` if a signal was received."""
        if number := self._interruption.received():
            path = self._save()
            resume = f" Everything is saved in {path}; the same command resumes from there."
            raise Stopped(
                number,
                f"Stopped in epoch {self.progress.epoch + 1} after step {self.progress.step}."
                f"{resume if path else ''}",
            )

    def _save(self) -> pathlib.Path | None:
        sync_state(self._model)
        if 0 < self.progress.step < self._data.steps_per_epoch:
            self._state.capture_random_state()
        self.finite.require_finite()
        self.progress = dataclasses.replace(
            self.progress,
            bad_images=tuple(self._data.bad_images.names),
            **(self._time_limit.state if self._time_limit else {}),
        )
        return self.checkpoints.save(self._state, self.progress)


def objective_loop(
    model: TrainingModel,
    title: str,
    data: TrainingData,
    optimization: Optimization,
    checkpoints: CheckpointManager | None = None,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
    on_nan: str | None = None,
    monitor: str | None = None,
    time_limit: "TimeLimit | None" = None,
) -> TrainingLoop:
    """Returns the loop that trains a model with its objective.

    Args:
        model, title, data, checkpoints, callbacks, on_nan, time_limit: as for `TrainingLoop`.
        optimization: for the epochs and the learning rates.
        monitor: figure of the validation, without "val_", that chooses the best epoch; None for
            the objective's.
    """
    objective, micro_batches = model.objective, optimization.accumulation_steps
    name, mode = objective.monitor, objective.mode
    if monitor is not None:
        name, mode = f"val_{monitor}", "min" if monitor.endswith("loss") else "max"
    schedule = learning_rate_schedule(optimization, data.steps_per_epoch // micro_batches)
    return TrainingLoop(
        *(model, title, data, optimization.epochs, schedule, name, mode),
        *(objective.teacher, micro_batches, checkpoints, callbacks, on_nan, time_limit),
    )


class _Steps(keras.callbacks.Callback):
    """Passes what Keras reports of the steps in one `fit` on to the loop."""

    def __init__(self, loop: TrainingLoop):
        super().__init__()
        self._loop = loop
        self.done = 0
        self.logs: dict[str, float] = {}

    def on_epoch_begin(self, epoch, logs=None):
        self._loop.restore_metrics()

    def on_train_batch_begin(self, batch, logs=None):
        if self.done == 0:
            self._loop.restore_random_state()
        self._loop.step_begins()

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0:
            self._loop.timer.first_step_ended(logs)
        self.done += 1
        self._loop.step_ends(logs)

    def on_epoch_end(self, epoch, logs=None):
        self.logs = {name: float(value) for name, value in logs.items()}


class _StopInValidation(keras.callbacks.Callback):
    """Stops a validation at a signal; it is done again after resuming."""

    def __init__(self, loop: TrainingLoop):
        super().__init__()
        self._loop = loop

    def on_test_batch_end(self, batch, logs=None):
        self._loop.stop_if_asked()

    def on_predict_batch_end(self, batch, logs=None):
        self._loop.stop_if_asked()


def _first(batches: Iterator, count: int) -> Iterator:
    """Yields the first batches. Keras reads one batch ahead from other iterators than a generator,
    and loses it."""
    yield from itertools.islice(batches, count)


def _require_agreement(start: str) -> None:
    starts = all_gather([start])
    if len(starts) > 1:
        raise InputError(
            f"The processes would start from different checkpoints ({'; '.join(starts)}): all need "
            "the same --run_dir, on a disk that all of them read."
        )
