"""The state of a training between two steps: variables and random generators."""

import hashlib

import keras
import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.files import array_bytes
from keras_deit.core.keras_internals import accumulated_gradients, iterations_variable
from keras_deit.core.processes import addressable
from keras_deit.core.random_state import RANDOM_STATE, assign_random_state, read_random_state

_METRIC, _ACCUMULATED = "metric:", "accumulated"


class TrainingState:
    """The variables of a compiled model and its optimizer, and global random generators, by name.

    The generators are those after the last step that was captured, or when this was created.

    They are weights, batch statistics, moving averages, the state of random layers, the running
    means of the metrics, and the optimizer's slots, loss scale and number of steps.

    Args:
        model: compiled and built, including its metrics.
        excluded: a part of the model that is not stored, such as a frozen teacher.
    """

    def __init__(self, model: keras.Model, excluded: keras.Layer | None = None):
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        skipped = {id(variable) for variable in excluded.variables} if excluded else set()
        skipped |= {id(variable) for variable in model.metrics_variables}
        own = [variable for variable in model.variables if id(variable) not in skipped]
        self._optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        self._micro_batches = self._optimizer.gradient_accumulation_steps or 1
        accumulated = accumulated_gradients(self._optimizer)
        sums = {id(variable) for variable in accumulated}
        others = [v for v in model.optimizer.variables if id(v) not in sums]
        self._variables = _numbered("model", own) | _numbered("optimizer", others)
        self._accumulated = _numbered(_ACCUMULATED, accumulated)
        self._metrics = {}
        for metric in model.metrics:
            self._metrics |= _numbered(f"{_METRIC}{metric.name}", metric.variables)
        self.capture_random_state()

    def read(self) -> dict[str, np.ndarray]:
        """Returns a copy of all values by name.

        Raises:
            InputError: one of the weights is not finite.
        """
        values = _read(self._variables)
        for name, value in values.items():
            if not _all_finite(value):
                raise InputError(f"{self._variables[name].path} is not finite any more.")
        others = self._accumulated | self._metrics
        return values | _read(others) | self._random_state

    def assign(self, values: dict[str, np.ndarray], source: str, micro_batches: int) -> None:
        """Restores what `read` returned, except the metrics.

        Args:
            values: by name.
            source: where they come from, for the error.
            micro_batches: number of micro-batches in a step of the training that wrote them. If
                steps have another number here, the values must be those between two steps, when no
                gradients are accumulated.

        Raises:
            InputError: they are of another model or optimizer; nothing is assigned then.
        """
        expected = {name: tuple(variable.shape) for name, variable in self._variables.items()}
        given = {
            name: value.shape
            for name, value in values.items()
            if not name.startswith((_METRIC, _ACCUMULATED, *RANDOM_STATE))
        }
        different = sorted(
            name for name in {*expected, *given} if expected.get(name) != given.get(name)
        )
        if different:
            name = different[0]
            raise InputError(
                f"{source} is of another training: {name.split()[-1]} is {given.get(name)} there "
                f"and {expected.get(name)} here, and {len(different) - 1} more differ."
            )
        for name, variable in self._variables.items():
            variable.assign(values[name])
        if micro_batches == self._micro_batches:
            for name, variable in self._accumulated.items():
                variable.assign(values[name])
        else:
            # Keras counts the micro-batches.
            iterations = iterations_variable(self._optimizer)
            done = int(iterations.numpy()) // micro_batches
            iterations.assign(done * self._micro_batches)
        self._random_state |= {
            name: value for name, value in values.items() if name.startswith(RANDOM_STATE)
        }
        self.restore_random_state()

    def capture_random_state(self) -> None:
        """Remembers the state of the global generators after a step."""
        self._random_state = read_random_state()

    def restore_random_state(self) -> None:
        """Restores it before the next step.

        What is drawn between two steps, as by a data loader of PyTorch, a validation or a
        callback, then makes no difference to the training, nor does how often that happens.
        """
        assign_random_state(self._random_state)

    def assign_metrics(self, values: dict[str, np.ndarray]) -> None:
        """Restores the running means, which Keras resets at the beginning of an epoch.

        A training may log more or less than the one that it resumes; what is new starts at 0.
        """
        # In a fixed order, because JAX processes compare what each of them assigns.
        for name, variable in self._metrics.items():
            if name in values:
                variable.assign(values[name])


def fingerprint(model: keras.Layer) -> str:
    """Returns sixteen hexadecimal digits that identify the weights of a model."""
    digest = hashlib.sha256()
    for value in _read(_numbered("model", model.weights)).values():
        digest.update(f"{value.dtype} {value.shape}".encode())
        digest.update(array_bytes(value))
    return digest.hexdigest()[:16]


def _numbered(kind: str, variables) -> dict[str, keras.Variable]:
    # The order of the variables is always the same. Their paths are not: Keras numbers layers
    # without a name, and the number depends on what else the process has built.
    return {f"{kind} {index:05} {v.name}": v for index, v in enumerate(variables)}


def _read(variables: dict[str, keras.Variable]) -> dict[str, np.ndarray]:
    with addressable(variables.values()):
        return {name: np.array(variable.numpy()) for name, variable in variables.items()}


def _all_finite(value: np.ndarray) -> bool:
    # `np.isfinite` allocates an array of the same length; a sum does not, and shows all.
    return not np.issubdtype(value.dtype, np.inexact) or bool(
        np.isfinite(np.sum(value, dtype=np.float64))
    )
