"""What happens around the steps of a training."""

import math
import os
import pathlib
import statistics
import time

import keras
import numpy as np
import tqdm

from keras_deit.errors import InputError


class Progress(keras.callbacks.Callback):
    """One progress bar over all steps of a training.

    Args:
        title: what is being trained.
        total_steps: in the whole training.
    """

    def __init__(self, title: str, total_steps: int):
        super().__init__()
        self._title = title
        self._total_steps = total_steps
        self._validation = {}

    def on_train_begin(self, logs=None):
        self._bar = tqdm.tqdm(
            total=self._total_steps, desc=self._title, unit="step", mininterval=0.5, smoothing=0.1
        )

    def on_train_batch_end(self, batch, logs=None):
        self._bar.update()
        shown = {name: logs[name] for name in ("loss", "accuracy") if name in logs}
        shown = {name: f"{value:.3f}" for name, value in (shown | self._validation).items()}
        self._bar.set_postfix(shown, refresh=False)

    def on_epoch_end(self, epoch, logs=None):
        if "val_accuracy" in logs:
            self._validation = {"val_accuracy": logs["val_accuracy"]}

    def close(self):
        """Leaves the bar as it stands; also called where the training did not end."""
        self._bar.close()


class EvaluationProgress(keras.callbacks.Callback):
    """One progress bar over the batches of an evaluation.

    Args:
        title: what is being evaluated.
        batches: how many there are.
    """

    def __init__(self, title: str, batches: int):
        super().__init__()
        self._bar = tqdm.tqdm(desc=title, total=batches, unit="batch", mininterval=0.5)

    def on_test_batch_end(self, batch, logs=None):
        self._bar.update()

    def close(self):
        """Leaves the bar as it stands."""
        self._bar.close()


class FiniteLoss(keras.callbacks.Callback):
    """Stops a training that has left the finite numbers.

    Looks at the loss of every step, and after every epoch at the validation loss, where there is
    one, and at the weights: the last update of an epoch is in no step's loss.

    Args:
        kept: where the last good weights are, for the message; empty for nowhere.

    Raises:
        InputError: at the first such step or epoch, which it names.
    """

    def __init__(self, kept: str = ""):
        super().__init__()
        self._kept = kept
        self._step = 0
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        self._step += 1
        # The mean over the epoch so far: it stops being finite with the first loss that is not.
        self._require("loss", float(logs["loss"]))

    def on_epoch_end(self, epoch, logs=None):
        self._require("validation loss", float(logs.get("val_loss", 0.0)))
        for variable in self.model.trainable_variables:
            values = keras.ops.convert_to_numpy(variable)
            if not np.isfinite(values).all():
                self._require(f"sum of the weights {variable.path}", float(values.sum()))

    def _require(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            kept = f" The last good weights are kept in {self._kept}." if self._kept else ""
            raise InputError(
                f"The {name} became {value} at step {self._step} (epoch {self._epoch}); "
                f"a lower learning_rate may help.{kept}"
            )


class StepTimer(keras.callbacks.Callback):
    """Measures the time from the end of a step to the end of the next, data included."""

    def __init__(self):
        super().__init__()
        self.seconds: list[float] = []
        self._last = None

    def on_epoch_begin(self, epoch, logs=None):
        self._last = None

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        if self._last is not None:
            self.seconds.append(now - self._last)
        self._last = now

    def median(self) -> float | None:
        """Seconds; None for a training of one step an epoch."""
        return statistics.median(self.seconds) if self.seconds else None


class LearningRate(keras.callbacks.Callback):
    """Adds `learning_rate` to what an epoch logs: that of its first step."""

    def on_epoch_begin(self, epoch, logs=None):
        rate = self.model.optimizer.learning_rate
        self._learning_rate = float(keras.ops.convert_to_numpy(rate))

    def on_epoch_end(self, epoch, logs=None):
        logs["learning_rate"] = self._learning_rate


class Checkpoint(keras.callbacks.Callback):
    """Saves a model's weights before the first epoch and after the epochs that are named.

    Args:
        student: whose weights to save.
        path: of the `.weights.h5` file; it is replaced only once the new one is complete.
        epochs: after which to save, counted from 1.
    """

    def __init__(self, student: keras.Model, path: pathlib.Path, epochs: list[int]):
        super().__init__()
        self._student = student
        self._path = path
        self._epochs = epochs

    def on_train_begin(self, logs=None):
        save_weights(self._student, self._path)

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 in self._epochs:
            save_weights(self._student, self._path)


def save_weights(model: keras.Model, path: pathlib.Path) -> None:
    """Writes `path`, a `.weights.h5` file, so that it is the old one or the new one at any time."""
    partial = path.with_name(f"partial-{path.name}")
    model.save_weights(partial)
    os.replace(partial, path)
