"""Labels and teachers that cannot be right, in batches that only the step sees.

Arrays are checked before they are used (`core.labels`). The batches of a `tf.data.Dataset`, a
generator or a PyTorch `DataLoader` are seen first inside a compiled step, which cannot raise an
error. There a fault turns the losses and the figures of the batch into `nan`, and no weight learns
from it; the mean over the epoch then stays `nan`, and `FaultWatch` finds it and raises the error.
"""

import time
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.core.labels import HALF_SUM_TOLERANCE, SUM_TOLERANCE
from keras_deit.losses import (
    BinaryLabelCrossentropy,
    LabelCrossentropy,
    SigmoidLabelCrossentropy,
)

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
