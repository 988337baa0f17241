"""The numbers that a training consists of, between two of its steps."""

import hashlib

import keras
import numpy as np

from keras_deit.errors import InputError
from keras_deit.training.checkpoints.random_state import (
    assign_random_state,
    is_random_state,
    read_random_state,
)
from keras_deit.training.devices.processes import readable

_METRIC, _ACCUMULATED = "metric:", "accumulated"


class TrainingState:
    """The variables of a compiled model and of its optimiser, and random generators, by name.

    That is: weights, batch statistics, moving averages, the state of random layers, the running
    means of the metrics, and the optimiser's slots, loss scale and number of steps.

    Args:
        model: compiled and built, its metrics too.
        left_out: a part of the model that is not stored, such as a frozen teacher.
    """

    def __init__(self, model: keras.Model, left_out: keras.Layer | None = None):
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        skipped = {id(variable) for variable in left_out.variables} if left_out else set()
        skipped |= {id(variable) for variable in model.metrics_variables}
        own = [variable for variable in model.variables if id(variable) not in skipped]
        self._optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        self._parts = self._optimizer.gradient_accumulation_steps or 1
        accumulated = self._optimizer._accumulated_gradients if self._parts > 1 else []
        sums = {id(variable) for variable in accumulated}
        others = [v for v in model.optimizer.variables if id(v) not in sums]
        self._variables = _numbered("model", own) | _numbered("optimizer", others)
        self._accumulated = _numbered(_ACCUMULATED, accumulated)
        self._metrics = {}
        for metric in model.metrics:
            self._metrics |= _numbered(f"{_METRIC}{metric.name}", metric.variables)

    def read(self) -> dict[str, np.ndarray]:
        """A copy of all values by name.

        Raises:
            InputError: one of the weights is not finite.
        """
        values = _read(self._variables)
        for name, value in values.items():
            if not _all_finite(value):
                raise InputError(f"{self._variables[name].path} is not finite any more.")
        others = self._accumulated | self._metrics
        return values | _read(others) | read_random_state()

    def assign(self, values: dict[str, np.ndarray], source: str, parts: int) -> None:
        """Puts back what `read` gave.

        Args:
            values: by name.
            source: where they come from, for the error.
            parts: that steps had there. Where they have another number of parts here, the values
                have to be those between two steps, when no gradients are accumulated.

        Raises:
            InputError: they are of another model or optimiser; nothing is assigned then.
        """
        wanted = {name: tuple(variable.shape) for name, variable in self._variables.items()}
        given = {
            name: value.shape
            for name, value in values.items()
            if not name.startswith((_METRIC, _ACCUMULATED)) and not is_random_state(name)
        }
        different = sorted(
            name for name in {*wanted, *given} if wanted.get(name) != given.get(name)
        )
        if different:
            name = different[0]
            raise InputError(
                f"{source} is of another training: {name.split()[-1]} is {given.get(name)} there "
                f"and {wanted.get(name)} here, and {len(different) - 1} more differ."
            )
        for name, variable in self._variables.items():
            variable.assign(values[name])
        if parts == self._parts:
            for name, variable in self._accumulated.items():
                variable.assign(values[name])
        else:
            # Keras counts the parts.
            done = int(self._optimizer._iterations.numpy()) // parts
            self._optimizer._iterations.assign(done * self._parts)
        assign_random_state(values)

    def assign_metrics(self, values: dict[str, np.ndarray]) -> None:
        """Puts the running means back: Keras resets them when an epoch begins.

        A training may be gone on with that logs more or less; what is new begins at nothing.
        """
        # In one order: several JAX processes compare what each of them assigns.
        for name, variable in self._metrics.items():
            if name in values:
                variable.assign(values[name])


def _numbered(kind: str, variables) -> dict[str, keras.Variable]:
    # Their order is always the same. Their paths are not: what has no name of its own is
    # numbered by Keras, and the number depends on what else the process has made.
    return {f"{kind} {index:05} {v.name}": v for index, v in enumerate(variables)}


def _read(variables: dict[str, keras.Variable]) -> dict[str, np.ndarray]:
    with readable(variables.values()):
        return {name: np.array(variable.numpy()) for name, variable in variables.items()}


def fingerprint(model: keras.Layer) -> str:
    """Sixteen hexadecimal digits that stand for the weights of a model."""
    digest = hashlib.sha256()
    for value in _read(_numbered("model", model.weights)).values():
        digest.update(f"{value.dtype} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
    return digest.hexdigest()[:16]


def _all_finite(value: np.ndarray) -> bool:
    # NumPy's own `isfinite` makes an array of the same length; a sum does not, and shows all.
    return not np.issubdtype(value.dtype, np.inexact) or bool(
        np.isfinite(np.sum(value, dtype=np.float64))
    )
