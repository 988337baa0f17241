"""What batch normalisation has seen of a batch that the optimiser leaves out."""

from collections.abc import Callable

import keras
from keras import ops


def with_finite_statistics(step: Callable, model: keras.Model, part: keras.Model) -> Callable:
    """A training step after which statistics that are not finite are what they were before it.

    Args:
        step: as Keras calls it: `step(data)`, or `step(state, data)` on JAX.
        model: whose step it is.
        part: of the model, that is trained; its variables that are not trained, other than counts
            and the state of random layers, are the statistics.
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
