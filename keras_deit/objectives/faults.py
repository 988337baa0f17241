"""Labels and teachers that cannot be right, in batches that only the step sees.

Arrays are checked before they are used (`core.labels`). The batches of a `tf.data.Dataset`, a
generator or a PyTorch `DataLoader` are seen first inside a compiled step, which cannot raise an
error. There a fault turns the losses and the figures of the batch into `nan`, and no weight learns
from it; the mean over the epoch then stays `nan`, and `FaultWatch` finds it and raises the error.
"""

import math
import time
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from keras_deit.core.compilation import given_arguments
from keras_deit.core.errors import InputError
from keras_deit.core.labels import (
    HALF_SUM_TOLERANCE,
    SUM_TOLERANCE,
    check_labels,
    expected_labels,
)
from keras_deit.losses import (
    BinaryLabelCrossentropy,
    LabelCrossentropy,
    SigmoidLabelCrossentropy,
)
from keras_deit.objectives.objective import Batch

_OF_CLASSES = (
    *(LabelCrossentropy, BinaryLabelCrossentropy, SigmoidLabelCrossentropy),
    *(keras.losses.SparseCategoricalCrossentropy, keras.losses.CategoricalCrossentropy),
)
# Outputs whose rows all sum to 1 within this tolerance, without a negative one, are probabilities.
_PROBABILITY_TOLERANCE, _HALF_PROBABILITY_TOLERANCE = 1e-4, 5e-3


def takes_classes(loss: keras.losses.Loss | None) -> bool:
    """Returns whether the labels of a loss are classes or distributions over them.

    The labels of another loss that a user gives to `compile` may mean anything.
    """
    ignored = getattr(loss, "get_config", dict)().get("ignore_class")
    return isinstance(loss, _OF_CLASSES) and ignored is None


def possible_labels(labels, classes: int):
    """Returns labels that can be computed with, and which of them were possible before.

    Args:
        labels: integers (batch,) or (batch, 1), or distributions (batch, classes).
        classes: number of classes.

    Returns:
        The labels, the impossible ones replaced by the class 0 or by equal shares; and booleans
        (batch,).
    """
    dtype = keras.backend.standardize_dtype(labels.dtype)
    if len(labels.shape) == 2 and labels.shape[-1] == classes > 1:
        is_half = dtype in ("float16", "bfloat16")
        values = ops.cast(labels, "float32")
        error = ops.abs(ops.sum(values, axis=-1) - 1)
        tolerance = HALF_SUM_TOLERANCE if is_half else SUM_TOLERANCE
        possible = ops.logical_and(ops.min(values, axis=-1) >= 0, error <= tolerance)
        equal = ops.full_like(labels, 1 / classes) if keras.backend.is_float_dtype(dtype) else 0
        return ops.where(ops.expand_dims(possible, -1), labels, equal), possible
    if dtype != "int64" and not keras.backend.is_float_dtype(dtype):
        # In its own dtype the number of classes may be too large.
        labels = ops.cast(labels, "int32")
    possible = ops.logical_and(labels >= 0, labels < classes)
    if keras.backend.is_float_dtype(dtype):
        possible = ops.logical_and(possible, ops.equal(labels, ops.floor(labels)))
    return ops.where(possible, labels, ops.zeros_like(labels)), ops.reshape(possible, (-1,))


def usable_rows(teacher, student):
    """Returns logits of a teacher that can be computed with, and which rows are no fault of its.

    Where the student's logits are not finite either, the images may be the cause, or the step: that
    is found as in a training without a teacher, and the step may be skipped.

    Args:
        teacher, student: logits (batch, classes).

    Returns:
        The teacher's logits, rows that are not finite as 0; and booleans (batch,).
    """
    finite, learned = (ops.all(ops.isfinite(x), axis=-1) for x in (teacher, student))
    kept = ops.where(ops.expand_dims(finite, -1), teacher, ops.zeros_like(teacher))
    return kept, ops.logical_or(finite, ops.logical_not(learned))


def are_probabilities(outputs):
    """Returns whether all rows (batch, classes) are probabilities and not logits, a scalar."""
    is_half = keras.backend.standardize_dtype(outputs.dtype) in ("float16", "bfloat16")
    outputs = ops.cast(outputs, "float32")
    error = ops.max(ops.abs(ops.sum(outputs, axis=-1) - 1))
    tolerance = _HALF_PROBABILITY_TOLERANCE if is_half else _PROBABILITY_TOLERANCE
    return ops.logical_and(ops.min(outputs) >= 0, error <= tolerance)


def nan_unless(sound, values):
    """Returns values where `sound` is true, elsewhere `nan`, to which no gradient leads."""
    return ops.where(sound, values, ops.full_like(values, np.nan))


class FaultWatch(keras.callbacks.Callback):
    """Raises an error for a fault that the figures of a step show.

    Reading a figure waits for its step, so it is done after the first step and once a second.

    Args:
        fault: returns what the figures show, as a sentence; None for nothing.
    """

    _SECONDS = 1.0

    def __init__(self, fault: Callable[[dict], str | None]):
        super().__init__()
        self._fault = fault
        self._last = 0.0

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0 or time.monotonic() - self._last >= self._SECONDS:
            self._check(logs)
            self._last = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        self._check(logs)

    def on_test_end(self, logs=None):
        self._check(logs)

    def _check(self, logs) -> None:
        if fault := self._fault(logs or {}):
            _ = self.model  # On JAX this gives the model its weights back.
            raise InputError(fault)


class FaultChecks:
    """The methods of a `TrainingModel` that find impossible labels and teachers.

    Arrays are checked before a training; a callback finds what only the step sees.
    """

    def fit(self, *args, **kwargs):
        """Trains the student, as `keras.Model.fit` does.

        Raises:
            InputError: labels are impossible, or the outputs of a teacher are. In arrays that is
                found before the first step; in batches of a data set the loss is `nan`, and the
                error comes within a second.
        """
        given = given_arguments(keras.Model.fit, args, kwargs)
        self._check_given_labels(given.get("y"))
        validation = given.get("validation_data")
        if isinstance(validation, (tuple, list)) and len(validation) > 1:
            self._check_given_labels(validation[1], "validation_data: ")
        return super().fit(**self._watched(given))

    def evaluate(self, *args, **kwargs):
        """Evaluates the student, as `keras.Model.evaluate` does; errors are those of `fit`."""
        given = given_arguments(keras.Model.evaluate, args, kwargs)
        if not given.get("_use_cached_eval_dataset"):
            self._check_given_labels(given.get("y"))
        return super().evaluate(**self._watched(given))

    def train_on_batch(self, *args, **kwargs):
        """Does one step, as `keras.Model.train_on_batch` does; errors are those of `fit`."""
        given = given_arguments(keras.Model.train_on_batch, args, kwargs)
        self._check_given_labels(given.get("y"))
        return self._checked_result(super().train_on_batch(**given))

    def test_on_batch(self, *args, **kwargs):
        """Evaluates a batch, as `keras.Model.test_on_batch` does; errors are those of `fit`."""
        given = given_arguments(keras.Model.test_on_batch, args, kwargs)
        self._check_given_labels(given.get("y"))
        return self._checked_result(super().test_on_batch(**given))

    @property
    def _labels_are_classes(self) -> bool:
        return takes_classes(getattr(self.objective, "label_loss", None))

    def _check_given_labels(self, labels, what: str = "") -> None:
        """Checks labels that are in memory, as they are given to `fit` and its like."""
        labels = labels.get("labels") if isinstance(labels, dict) else labels
        if labels is None or not self._labels_are_classes:
            return
        labels = ops.convert_to_numpy(labels) if keras.ops.is_tensor(labels) else labels
        check_labels(labels, self.student.output_shape[-1], what)

    def _possible(self, batch: Batch) -> tuple:
        """Returns the batch with labels that can be computed with, and which were possible.

        The second is None if the labels need not be classes.
        """
        if not self._labels_are_classes:
            return batch, None
        classes = self.student.output_shape[-1]
        batch.labels, possible = possible_labels(batch.labels, classes)
        return batch, possible

    def _fault(self, logs: dict) -> str | None:
        """Returns what figures of a training or an evaluation say about its data, as a sentence."""
        if self._labels_are_classes and "accuracy" in logs and math.isnan(float(logs["accuracy"])):
            expected = expected_labels(self.student.output_shape[-1])
            return f"A batch has impossible labels, and its loss is nan. {expected}"
        return self.objective.fault(logs)

    def _watched(self, given: dict) -> dict:
        """Returns the arguments of `fit` or `evaluate` with a callback that looks for faults."""
        callbacks, watch = given.get("callbacks"), FaultWatch(self._fault)
        if isinstance(callbacks, keras.callbacks.CallbackList):
            # It is that of a `fit`, in whose validation this is, or of the user.
            if any(isinstance(callback, FaultWatch) for callback in callbacks.callbacks):
                return given
            watch.set_model(self)
            callbacks.append(watch)
            return given
        return {**given, "callbacks": [watch, *keras.tree.flatten(callbacks or [])]}

    def _checked_result(self, result):
        """Returns the result of `train_on_batch` or `test_on_batch` if it has no fault."""
        if not np.isfinite(keras.tree.flatten(result)).all() and (
            fault := self._fault(self.get_metrics_result())
        ):
            raise InputError(fault)
        return result
