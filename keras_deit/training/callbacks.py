"""What happens around the steps of a training: progress bars, events, finite checks, timing."""

import importlib.util
import logging
import math
import pathlib
import statistics
import time
from collections.abc import Callable

import keras

from keras_deit.core.errors import InputError, first_line
from keras_deit.core.processes import is_writer
from keras_deit.core.progress import Progress, say

_logger = logging.getLogger(__name__)


class ProgressBar(keras.callbacks.Callback):
    """The progress of all steps of a training, and a line for each epoch.

    A context that ends the progress. Reading a figure waits for the step that computes it, and on
    an accelerator the next step does not start meanwhile. Therefore the figures are read twice a
    second, not at every step.

    Args:
        title: what is trained.
        total_steps: number of steps of the whole training.
        epochs: number of its epochs.
        done: steps that an earlier process has done.
        monitor: the validation figure to show.
    """

    _SECONDS = 0.5

    def __init__(self, title: str, total_steps: int, epochs: int, done: int = 0, monitor: str = ""):
        super().__init__()
        self._title, self._epochs = title, epochs
        self._steps_per_epoch = total_steps // epochs
        self._monitor = monitor
        self._validation = {}
        self._last = 0.0
        self._epoch_start = time.monotonic()
        self._progress = Progress(title, total_steps, "step", done, trains=True)

    def __enter__(self):
        self._progress.__enter__()
        return self

    def __exit__(self, *error):
        self._progress.__exit__(*error)

    def set_epochs(self, epochs: int) -> None:
        """Sets the number of epochs of the whole training."""
        self._epochs = epochs
        self._progress.set_total(epochs * self._steps_per_epoch)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_start = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        now = time.monotonic()
        if now - self._last >= self._SECONDS:
            self._last = now
            shown = {name: float(logs[name]) for name in ("loss", "accuracy") if name in logs}
            shown = {name: f"{value:.3f}" for name, value in (shown | self._validation).items()}
            self._progress.show(shown)
        self._progress.update()

    def on_epoch_end(self, epoch, logs=None):
        if self._monitor in logs:
            self._validation = {self._monitor: logs[self._monitor]}
        figures = "".join(
            f"{name} {value:.4f}, "
            for name, value in logs.items()
            if name in ("loss", "accuracy") or name.startswith("val_")
        )
        steps, seconds = (epoch + 1) * self._steps_per_epoch, time.monotonic() - self._epoch_start
        say(
            f"{self._title}: epoch {epoch + 1} of {self._epochs}, step {steps:,}, {figures}"
            f"{seconds:.1f} s",
            trains=True,
        )


class Events(keras.callbacks.Callback):
    """Writes events for TensorBoard; if that fails, says so once and continues without.

    On other backends TensorFlow, which writes them, is imported at the end of the first epoch, so
    that the training need not wait for it.

    Args:
        path: folder of the events.
    """

    def __init__(self, path: pathlib.Path):
        super().__init__()
        self._path = path
        self._events = None
        self._failed = False

    def on_epoch_end(self, epoch, logs=None):
        self._try("on_epoch_end", epoch, logs)

    def on_train_end(self, logs=None):
        if self._events is not None:
            self._try("on_train_end", logs)

    def _try(self, method: str, *args) -> None:
        if self._failed:
            return
        try:
            import tensorflow as tf

            failures = (OSError, tf.errors.OpError)
            str(self._path).encode()  # TensorFlow takes no other names.
        except (ImportError, UnicodeEncodeError) as error:
            self._fail(error)
            return
        try:
            if self._events is None:
                self._events = keras.callbacks.TensorBoard(self._path, write_graph=False)
                self._events.set_params(self.params)
                self._events.set_model(self.model)
                self._events.on_train_begin()
            getattr(self._events, method)(*args)
        except failures as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._failed = True
        _logger.warning("Events for TensorBoard cannot be written: %s", first_line(error))


def tensorboard_events(path: pathlib.Path) -> list[keras.callbacks.Callback]:
    """Returns a callback that writes events if TensorBoard is installed and this process writes."""
    # Keras writes the events with both, on every backend.
    needed = ("tensorboard", "tensorflow")
    is_installed = all(importlib.util.find_spec(name) is not None for name in needed)
    return [Events(path)] if is_installed and is_writer() else []


# Keras's loss scale starts at 2¹⁵ and is halved at every step with non-finite gradients.
_MIN_LOSS_SCALE = 2.0**-14


class FiniteCheck(keras.callbacks.Callback):
    """Stops a training whose numbers are not finite any more, or counts the skipped steps.

    A step with non-finite gradients changes no weight (`GroupedOptimizer`), so it is enough to
    check from time to time: the optimizer knows its number.

    Args:
        steps_per_epoch: for the messages.
        on_nan: "fail" to stop, "skip" to continue without such steps; None to stop if the user
            cannot choose.
        latest: returns the last checkpoint, for the messages.
        micro_batches: number of micro-batches in a step of the optimizer, which counts them.

    Attributes:
        skipped: number of skipped steps.
    """

    _SECONDS = 1.0

    def __init__(
        self,
        steps_per_epoch: int,
        on_nan: str | None = "fail",
        latest: Callable[[], pathlib.Path | None] = lambda: None,
        micro_batches: int = 1,
    ):
        super().__init__()
        self.skipped = 0
        self._steps_per_epoch = steps_per_epoch
        self._on_nan = on_nan
        self._latest = latest
        self._micro_batches = micro_batches
        self._last = 0.0

    def on_train_batch_end(self, batch, logs=None):
        if time.monotonic() - self._last >= self._SECONDS:
            # `self.model` makes Keras update the variables on JAX.
            self.require_finite()
            self._last = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        self.require_finite()
        names = {"val_loss": "validation loss"}
        if self._on_nan != "skip":
            names["loss"] = "loss"
        for name, title in names.items():
            value = logs.get(name, 0.0)
            if not math.isfinite(value):
                self._stop(f"The {title} became {value} in epoch {epoch + 1}")

    def require_finite(self) -> None:
        """Checks the optimizer's count of skipped steps, if it has one.

        Raises:
            InputError: it has skipped a step and `on_nan` is "fail"; or no loss scale is small
                enough for float16, which has another cause than float16's range.
        """
        optimizer = self.model.optimizer
        if hasattr(optimizer, "inner_optimizer"):
            scale = float(keras.ops.convert_to_numpy(optimizer.dynamic_scale))
            optimizer = optimizer.inner_optimizer
            if scale < _MIN_LOSS_SCALE:
                self._stop(f"The gradients are not finite even at a loss scale of {scale:.3g}")
        if not hasattr(optimizer, "nonfinite_steps"):
            return
        self.skipped = int(keras.ops.convert_to_numpy(optimizer.nonfinite_steps))
        if self.skipped and self._on_nan != "skip":
            first = int(keras.ops.convert_to_numpy(optimizer.first_nonfinite_step))
            step = first // self._micro_batches
            epoch = step // self._steps_per_epoch
            offered = ", which --on_nan=skip would skip" if self._on_nan else ""
            self._stop(
                f"The gradients were not finite at step {step + 1} (epoch {epoch + 1}){offered}"
            )

    def _stop(self, what: str) -> None:
        latest = self._latest()
        where = f" The last checkpoint is {latest}." if latest else ""
        raise InputError(f"{what}; a lower learning_rate may help.{where}")


class StepTimer:
    """Measures the time of a step in each epoch, from the end of its first step to its end.

    Attributes:
        seconds: seconds of a step, including its data, in each epoch of two steps or more.
    """

    def __init__(self):
        self.seconds: list[float] = []
        self._start = 0.0

    def first_step_ended(self, logs: dict) -> None:
        """Starts the clock once the step has really ended."""
        float(logs["loss"])
        self._start = time.perf_counter()

    def epoch_ended(self, steps: int, other_seconds: float) -> None:
        """Stops the clock.

        Args:
            steps: number of steps of the epoch, including the first one.
            other_seconds: that were spent on something else, such as checkpoints.
        """
        if steps > 1:
            passed = time.perf_counter() - self._start - other_seconds
            self.seconds.append(passed / (steps - 1))

    def median(self) -> float | None:
        """Returns seconds; None if every epoch has one step."""
        return statistics.median(self.seconds) if self.seconds else None
