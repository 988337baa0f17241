"""Fitting a model so that nothing is lost when it is stopped, for students and teachers alike."""

import dataclasses
import itertools
import pathlib
import warnings
from collections.abc import Callable, Iterator

import keras

from keras_deit.data import BadImages
from keras_deit.distillation.execution import gathered
from keras_deit.errors import InputError
from keras_deit.recipes import Optimisation
from keras_deit.training.callbacks import FiniteSteps, Progress, StepTimer
from keras_deit.training.checkpoints import Keeper, Place, TrainingState
from keras_deit.training.interruption import Interruption, Stopped
from keras_deit.training.optimisation import learning_rate_schedule


@dataclasses.dataclass(frozen=True)
class Data:
    """What a model is fitted to.

    Attributes:
        batches: called with a number, gives the endless batches from that one on.
        steps_per_epoch: batches in an epoch. With accumulated gradients each part of a batch is
            one here, and everywhere in this file.
        validation: called for a pass over the validation data; None for no validation.
        validation_epochs: after which epochs, counted from 1, to validate; the last always is.
        bad_images: those that `batches` could not read; they are part of a checkpoint.
    """

    batches: Callable[[int], Iterator]
    steps_per_epoch: int
    validation: Callable[[], Iterator] | None = None
    validation_epochs: int = 1
    bad_images: BadImages = dataclasses.field(default_factory=BadImages)


class Fitting:
    """Fits a compiled model epoch by epoch, from where its newest checkpoint stands.

    Keras's `fit` does the steps of an epoch, or of what is left of it, and `evaluate` the
    validation. Between any two steps the training can be written to a checkpoint and taken up
    again with the same result, to the bit where the backend repeats itself.

    Args:
        model: compiled.
        title: of the progress bar.
        data: to fit to.
        optimisation: for the epochs and the learning rates.
        keeper: of the checkpoints; None for none.
        left_out: the part of the model that is not stored, such as a frozen teacher.
        callbacks: further ones. They get the events of the training, not of its validation.
        on_nan: "fail", or "skip" to go on after a step whose gradients are not finite; None where
            the user cannot choose.
        on_epoch: called at the end of every epoch with its place, after the callbacks; returns
            the place, which it may have added to.

    Attributes:
        timer: has the times of the steps done here.
        watch: counts the steps that were skipped.
    """

    def __init__(
        self,
        model: keras.Model,
        title: str,
        data: Data,
        optimisation: Optimisation,
        keeper: Keeper | None = None,
        left_out: keras.Layer | None = None,
        callbacks: tuple[keras.callbacks.Callback, ...] = (),
        on_nan: str | None = None,
        on_epoch: Callable[[Place], Place] = lambda place: place,
    ):
        self.timer = StepTimer()
        self._model = model
        self._title = title
        self._data = data
        self._epochs = optimisation.epochs
        self._keeper = keeper or Keeper(None)
        self._left_out = left_out
        self._on_epoch = on_epoch
        self._parts = optimisation.accumulation_steps
        steps = data.steps_per_epoch // self._parts
        self.watch = FiniteSteps(steps, on_nan, lambda: self._keeper.source, self._parts)
        self._callbacks = [self.watch, *callbacks]
        self._learning_rate = learning_rate_schedule(optimisation, steps)
        self._interruption = Interruption()
        self._unassigned_metrics = None

    def run(self) -> Place:
        """Trains to the end.

        Returns:
            The end, with the history of all epochs.

        Raises:
            InputError: a loss or gradient that is not finite, or a checkpoint that cannot be
                written or read, or is another training's.
            Stopped: by SIGTERM or Ctrl-C, after a checkpoint was written.
        """
        place = self._keeper.read() or Place()
        self._stored_parts = place.parts
        place = place.in_parts(self._parts)
        _require_agreement(f"epoch {place.epoch + 1}, step {place.step}")
        batches = self._data.batches(place.epoch * self._data.steps_per_epoch + place.step)
        batches = _build(self._model, batches)
        self._state = TrainingState(self._model, self._left_out)
        self._take_up(place)
        done = place.epoch * self._data.steps_per_epoch + place.step
        progress = Progress(self._title, self._epochs * self._data.steps_per_epoch, done)
        self._batch_callbacks = keras.callbacks.CallbackList(
            [*self._callbacks, progress], model=self._model
        )
        with self._interruption.watching(), progress, warnings.catch_warnings():
            # Neither Grain nor a generator tells Keras how long a pass is.
            warnings.filterwarnings("ignore", message="Your input ran out of data")
            self._batch_callbacks.on_train_begin()
            if place.epoch < self._epochs:
                self._keeper.write_first(self._state, place)
            while place.epoch < self._epochs:
                place = self._epoch(place, batches)
            self._batch_callbacks.on_train_end()
        # Also where all epochs were over already.
        self.watch.require_finite()
        return place

    def _take_up(self, place: Place) -> None:
        self._data.bad_images.restore(place.bad_images)
        tensors = self._keeper.take_tensors()
        if tensors is not None:
            self._state.assign(tensors, str(self._keeper.source), self._stored_parts)
            self._unassigned_metrics = tensors if place.step and place.logs is None else None

    def _epoch(self, place: Place, batches: Iterator) -> Place:
        self._batch_callbacks.on_epoch_begin(place.epoch)
        if place.logs is None:
            logs = self._train(place, batches)
            place = dataclasses.replace(place, step=self._data.steps_per_epoch, logs=logs)
            self.stop_if_asked(place)
        logs = {**place.logs, **self._validate(place)}
        self._batch_callbacks.on_epoch_end(place.epoch, dict(logs))
        history = (*place.history, {"epoch": place.epoch, **logs})
        place = dataclasses.replace(
            place, epoch=place.epoch + 1, step=0, logs=None, history=history
        )
        place = self._on_epoch(place)
        self._between_steps(place, write=place.epoch == self._epochs)
        return place

    def _train(self, place: Place, batches: Iterator) -> dict[str, float]:
        left = self._data.steps_per_epoch - place.step
        steps, spent = _Steps(self, place), self._keeper.seconds_spent
        self._model.fit(
            _first(batches, left),
            initial_epoch=place.epoch,
            epochs=place.epoch + 1,
            steps_per_epoch=left,
            callbacks=[steps],
            shuffle=False,
            verbose=0,
        )
        if steps.done != left:
            raise RuntimeError(
                f"Keras did {steps.done} of {left} steps of epoch {place.epoch + 1}."
            )
        self.timer.epoch_ended(left, self._keeper.seconds_spent - spent)
        first_step = place.epoch * self._data.steps_per_epoch // self._parts
        rate = float(keras.ops.convert_to_numpy(self._learning_rate(first_step)))
        return {**steps.logs, "learning_rate": rate}

    def _validate(self, place: Place) -> dict[str, float]:
        number, every = place.epoch + 1, self._data.validation_epochs
        if self._data.validation is None or (number % every and number != self._epochs):
            return {}
        logs = self._model.evaluate(
            self._data.validation(),
            callbacks=[_Validation(self, place)],
            return_dict=True,
            verbose=0,
        )
        return {f"val_{name}": float(value) for name, value in logs.items()}

    def step_begins(self, step: int) -> None:
        """Passes a step's beginning on; it is counted within the epoch."""
        self._batch_callbacks.on_train_batch_begin(step)

    def step_ends(self, place: Place, logs: dict) -> None:
        """Passes a step's end on, and writes or stops where it is time to."""
        self._batch_callbacks.on_train_batch_end(place.step - 1, logs)
        # The last step of an epoch is followed by what ends the epoch. In between, gradients are
        # accumulated: a checkpoint there could be gone on from in as many parts alone.
        if place.step < self._data.steps_per_epoch and place.step % self._parts == 0:
            self._between_steps(place)

    def put_metrics_back(self) -> None:
        """After Keras has reset them, in the epoch that a checkpoint stands in."""
        if self._unassigned_metrics is not None:
            self._state.assign_metrics(self._unassigned_metrics)
            self._unassigned_metrics = None

    def _between_steps(self, place: Place, write: bool = False) -> None:
        self.stop_if_asked(place)
        if write or self._keeper.due():
            self._write(place)

    def stop_if_asked(self, place: Place) -> None:
        """Writes a checkpoint and raises `Stopped`, after a signal.

        A validation that is stopped is done again afterwards.
        """
        if number := self._interruption.received():
            self._stop(number, place)

    def _stop(self, number: int, place: Place) -> None:
        path = self._write(place)
        kept = f" Everything is kept in {path}; the same command goes on from there."
        raise Stopped(
            number,
            f"Stopped in epoch {place.epoch + 1} after step {place.step}.{kept if path else ''}",
        )

    def _write(self, place: Place) -> pathlib.Path | None:
        if hasattr(self._model, "jax_state_sync"):
            self._model.jax_state_sync()
        self.watch.require_finite()
        place = dataclasses.replace(place, bad_images=tuple(self._data.bad_images.names))
        return self._keeper.write(self._state, place)


class _Steps(keras.callbacks.Callback):
    """What Keras tells of the steps of one epoch, or of the rest of one."""

    def __init__(self, fitting: Fitting, place: Place):
        super().__init__()
        self._fitting = fitting
        self._place = place
        self.done = 0
        self.logs: dict[str, float] = {}

    def on_epoch_begin(self, epoch, logs=None):
        self._fitting.put_metrics_back()

    def on_train_batch_begin(self, batch, logs=None):
        self._fitting.step_begins(self._place.step)

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0:
            self._fitting.timer.first_step_ended(logs)
        self.done += 1
        self._place = dataclasses.replace(self._place, step=self._place.step + 1)
        self._fitting.step_ends(self._place, logs)

    def on_epoch_end(self, epoch, logs=None):
        self.logs = {name: float(value) for name, value in logs.items()}


class _Validation(keras.callbacks.Callback):
    """What Keras tells of a validation after the training's steps up to a place."""

    def __init__(self, fitting: Fitting, place: Place):
        super().__init__()
        self._fitting = fitting
        self._place = place

    def on_test_batch_end(self, batch, logs=None):
        self._fitting.stop_if_asked(self._place)


def _first(batches: Iterator, count: int) -> Iterator:
    """A generator: Keras puts back what it looks at of one, and reads others twice."""
    yield from itertools.islice(batches, count)


def _require_agreement(start: str) -> None:
    starts = gathered([start])
    if len(starts) > 1:
        raise InputError(
            f"The processes would start from different checkpoints ({'; '.join(starts)}): all need "
            "the same --run_dir, on a disk that all of them read."
        )


def _build(model: keras.Model, batches: Iterator) -> Iterator:
    """Makes all variables of a compiled model, for which Keras wants to see a batch.

    Those of its metrics come, on TensorFlow, with the first step otherwise: too late for a
    checkpoint's values. Keras has no public name for this.
    """
    first = next(batches)
    model._symbolic_build(data_batch=first)
    # Under tf.distribute Keras looks again, at each `fit` and `evaluate`, at the first batch, and
    # neither trains on it nor counts it where it comes from an iterator.
    model._maybe_symbolic_build = _nothing
    return itertools.chain([first], batches)


def _nothing(**data) -> None:
    """In place of what is done already."""
