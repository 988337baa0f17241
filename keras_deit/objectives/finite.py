"""The logs and batch statistics of a training that skips steps with non-finite gradients."""

from collections.abc import Callable

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_deit")
class FiniteMean(keras.metrics.Mean):
    """The mean of the finite values."""

    def update_state(self, values, sample_weight=None):
        values = ops.cast(values, self.dtype)
        finite = ops.isfinite(values)
        weight = ops.cast(finite, self.dtype)
        if sample_weight is not None:
            weight = weight * ops.cast(sample_weight, self.dtype)
        super().update_state(ops.where(finite, values, 0.0), weight)


def with_finite_statistics(step: Callable, model: keras.Model, part: keras.Model) -> Callable:
    """Wraps a training step so that batch statistics that would become non-finite do not change.

    Args:
        step: training step as Keras calls it: `step(data)`, or `step(state, data)` on JAX.
        model: model that the step trains.
        part: part of the model with the statistics, which are its untrained float variables.

    Returns:
        The wrapped step, with the same arguments and results.
    """
    statistics = [v for v in part.non_trainable_variables if _is_float(v)]
    if not statistics:
        return step

    def stateless(state, data):
        logs, (trainable, after, *others) = step(state, data)
        own = {id(variable) for variable in statistics}
        values = zip(model.non_trainable_variables, state[1], after, strict=True)
        kept = [_finite_or(old, new) if id(v) in own else new for v, old, new in values]
        return logs, (trainable, kept, *others)

    def stateful(data):
        before = [ops.copy(variable) for variable in statistics]
        logs = step(data)
        for variable, old in zip(statistics, before, strict=True):
            variable.assign(_finite_or(old, variable))
        return logs

    return stateless if keras.backend.backend() == "jax" else stateful


def _is_float(variable) -> bool:
    return keras.backend.is_float_dtype(variable.dtype)


def _finite_or(old, new):
    return ops.where(ops.isfinite(new), new, old)
