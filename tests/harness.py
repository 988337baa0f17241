"""What every layer and every model is put through."""

import dataclasses
import inspect
import json
from collections.abc import Callable

import keras
import numpy as np
from keras import ops


@dataclasses.dataclass(frozen=True)
class Effect:
    """A constructor argument, another value for it, and what that value changes.

    Attributes:
        argument: its name.
        value: different from the one in the case.
        changes: a name in `OBSERVERS`.
    """

    argument: str
    value: object
    changes: str


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer or model to be tested.

    Attributes:
        kind: its class.
        arguments: a small configuration.
        input_shape: with the batch.
        effects: for every constructor argument at least one.
        reference: (inputs, weights by path) to the output, in NumPy.
        canceled: ends of the paths of biases that a batch normalization takes off again in
            training: no gradient reaches them, and training's output is not that of inference.
    """

    kind: type
    arguments: dict
    input_shape: tuple[int, ...]
    effects: tuple[Effect, ...]
    reference: Callable | None = None
    canceled: tuple[str, ...] = ()

    def inputs(self, **arguments) -> np.ndarray:
        shape = self.input_shape
        if "image_size" in arguments:
            shape = (shape[0], *arguments["image_size"], shape[-1])
        return np.random.default_rng(1).normal(size=shape).astype("float32")

    def build(self, **changed):
        """A built layer with the case's arguments, and `changed` in place of some."""
        keras.utils.set_random_seed(0)
        arguments = {**self.arguments, **changed}
        layer = self.kind(**arguments)
        if not layer.built:
            layer.build(self.inputs(**arguments).shape)
        return layer

    def rebuild(self, layer):
        """The layer that `layer`'s configuration gives, through JSON, built likewise."""
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
        keras.utils.set_random_seed(0)
        twin = keras.saving.deserialize_keras_object(config)
        if not twin.built:
            twin.build(self.inputs(**twin.get_config()).shape)
        return twin


def configuration(layer) -> str:
    """As JSON, where tuples and lists are the same."""
    return json.dumps(layer.get_config(), sort_keys=True)


def numpy(value) -> np.ndarray:
    return ops.convert_to_numpy(ops.cast(value, "float32"))


def weights_by_path(layer) -> dict[str, np.ndarray]:
    """Weights in float64; a path starts below the layer itself."""
    own = "" if isinstance(layer, keras.Model) else f"{layer.name}/"
    return {w.path.removeprefix(own): numpy(w).astype("float64") for w in layer.weights}


def randomize(layer, deviation: float = 0.3) -> None:
    """Gives every weight random values: no bias stays 0 and no factor stays 1. Variances are
    above 0."""
    rng = np.random.default_rng(2)
    for weight in layer.weights:
        values = rng.normal(0, deviation, weight.shape).astype("float32")
        weight.assign(abs(values) if weight.name == "moving_variance" else values)


def has_gradient(case: Case, variable) -> bool:
    """False for what is canceled, also biases that add the same to every logit of a softmax."""
    canceled = (*case.canceled, "/key/bias", "heads_before_softmax/bias")
    return not variable.path.endswith(canceled)


def constructor_arguments(kind: type) -> set[str]:
    """Names of the arguments that a class adds to those of every Keras layer."""
    ours = [base for base in kind.__mro__ if base.__module__.startswith("keras_deit.")]
    if not any("__init__" in vars(base) for base in ours):
        return set()
    parameters = inspect.signature(kind).parameters.values()
    return {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}


def _shapes(case, layer):
    return {path: weight.shape for path, weight in weights_by_path(layer).items()}


def _initial_values(case, layer):
    return [numpy(w) for w in layer.weights]


def _output(case, layer):
    randomize(layer)
    return [numpy(layer(case.inputs(**layer.get_config())))]


def _training_output(case, layer):
    randomize(layer)
    # Keras's dropout draws from PyTorch's global generator there.
    keras.utils.set_random_seed(0)
    return [numpy(layer(case.inputs(**layer.get_config()), training=True))]


OBSERVERS = {
    "shapes": _shapes,
    "initial values": _initial_values,
    "output": _output,
    "training output": _training_output,
}


def same(first, second) -> bool:
    """Whether two observations are equal to the bit."""
    if isinstance(first, dict):
        return first == second
    return len(first) == len(second) and all(map(np.array_equal, first, second))
