"""What happens around the steps of a training."""

import math
import pathlib
import statistics
import time
from collections.abc import Callable

import keras
import tqdm

from keras_deit.distillation.execution import is_writer
from keras_deit.errors import InputError
from keras_deit.pretrained.files import write_weights
from keras_deit.training.devices.processes import readable


class Progress(keras.callbacks.Callback):
    """One progress bar over all steps of a training; a context, at whose end it is left as it is.

    Reading a figure waits for the step that makes it, and on an accelerator the next one is not
    started meanwhile: the figures are read twice a second, not at every step.

    Args:
        title: what is being trained.
        total_steps: in the whole training.
        done: steps of it that an earlier process has done.
    """

    _SECONDS = 0.5

    def __init__(self, title: str, total_steps: int, done: int = 0):
        super().__init__()
        self._validation = {}
        self._last = 0.0
        self._bar = tqdm.tqdm(
            total=total_steps,
            initial=done,
            desc=title,
            unit="step",
            mininterval=self._SECONDS,
            smoothing=0.1,
            disable=not is_writer(),
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._bar.close()

    def on_train_batch_end(self, batch, logs=None):
        now = time.monotonic()
        if now - self._last >= self._SECONDS:
            self._last = now
            shown = {name: float(logs[name]) for name in ("loss", "accuracy") if name in logs}
            shown = {name: f"{value:.3f}" for name, value in (shown | self._validation).items()}
            self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def on_epoch_end(self, epoch, logs=None):
        if "val_accuracy" in logs:
            self._validation = {"val_accuracy": logs["val_accuracy"]}


class EvaluationProgress(keras.callbacks.Callback):
    """One progress bar over the batches of an evaluation.

    Args:
        title: what is being evaluated.
        batches: how many there are.
    """

    def __init__(self, title: str, batches: int):
        super().__init__()
        self._bar = tqdm.tqdm(
            desc=title, total=batches, unit="batch", mininterval=0.5, disable=not is_writer()
        )

    def on_test_batch_end(self, batch, logs=None):
        self._bar.update()

    def close(self):
        """Leaves the bar as it stands."""
        self._bar.close()


# Keras's loss scale starts at 2¹⁵ and is halved at every step without finite gradients.
_LEAST_LOSS_SCALE = 2.0**-14


class FiniteSteps(keras.callbacks.Callback):
    """Stops a training that has left the finite numbers, or counts the steps that were left out.

    A step whose gradients are not finite changes no weight (`GroupedOptimizer`), so it can be
    looked for from time to time: the optimiser knows its number.

    Args:
        steps_per_epoch: for the messages.
        on_nan: "fail" to stop, "skip" to go on without such steps; None to stop where going on
            is not offered.
        kept: gives the last checkpoint, for the messages.
        parts: that the optimiser makes a step in, and counts.

    Attributes:
        skipped: steps that were left out.
    """

    _SECONDS = 1.0

    def __init__(
        self,
        steps_per_epoch: int,
        on_nan: str | None = "fail",
        kept: Callable[[], pathlib.Path | None] = lambda: None,
        parts: int = 1,
    ):
        super().__init__()
        self.skipped = 0
        self._steps_per_epoch = steps_per_epoch
        self._on_nan = on_nan
        self._kept = kept
        self._parts = parts
        self._last = 0.0

    def on_train_batch_end(self, batch, logs=None):
        if time.monotonic() - self._last >= self._SECONDS:
            # `self.model` makes Keras bring the variables up to date.
            self.require_finite()
            self._last = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        self.require_finite()
        names = {"val_loss": "validation loss"}
        if self._on_nan != "skip":
            names["loss"] = "loss"
        for name, told in names.items():
            value = logs.get(name, 0.0)
            if not math.isfinite(value):
                self._stop(f"The {told} became {value} in epoch {epoch + 1}")

    def require_finite(self) -> None:
        """Looks at the optimiser's count of steps that it has left out.

        Raises:
            InputError: it has left one out, and `on_nan` is "fail"; or no loss scale is small
                enough for float16 any more, which has another cause than float16's range.
        """
        optimizer = self.model.optimizer
        if hasattr(optimizer, "inner_optimizer"):
            scale = float(keras.ops.convert_to_numpy(optimizer.dynamic_scale))
            optimizer = optimizer.inner_optimizer
            if scale < _LEAST_LOSS_SCALE:
                self._stop(f"The gradients are not finite at a loss scale of {scale:.3g} either")
        self.skipped = int(keras.ops.convert_to_numpy(optimizer.nonfinite_steps))
        if self.skipped and self._on_nan != "skip":
            first = int(keras.ops.convert_to_numpy(optimizer.first_nonfinite_step))
            step = first // self._parts
            epoch = step // self._steps_per_epoch
            offered = ", which --on_nan=skip would leave out" if self._on_nan else ""
            self._stop(
                f"The gradients were not finite at step {step + 1} (epoch {epoch + 1}){offered}"
            )

    def _stop(self, what: str) -> None:
        kept = self._kept()
        where = f" The last checkpoint is {kept}." if kept else ""
        raise InputError(f"{what}; a lower learning_rate may help.{where}")


class StepTimer:
    """Measures the time of a step by epoch, from the end of its first step to its end.

    Attributes:
        seconds: of a step, data included, in each epoch of two steps or more.
    """

    def __init__(self):
        self.seconds: list[float] = []
        self._start = 0.0

    def first_step_ended(self, logs: dict) -> None:
        """Starts the clock once that step is really over."""
        float(logs["loss"])
        self._start = time.perf_counter()

    def epoch_ended(self, steps: int, elsewhere: float) -> None:
        """Stops the clock.

        Args:
            steps: of the epoch, the first one counted.
            elsewhere: seconds that went into something else, such as checkpoints.
        """
        if steps > 1:
            passed = time.perf_counter() - self._start - elsewhere
            self.seconds.append(passed / (steps - 1))

    def median(self) -> float | None:
        """Seconds; None for a training of one step an epoch."""
        return statistics.median(self.seconds) if self.seconds else None


def save_weights(model: keras.Model, path: pathlib.Path) -> None:
    """Writes `path`, a `.weights.h5` file, so that it is the old one or the new one at any time.

    Of several processes one writes.
    """
    if is_writer():
        with readable(model.weights):
            write_weights(model, path)
