"""Checks what holds for every layer and every model."""

import dataclasses
import inspect
import json
from collections.abc import Callable, Iterator

import keras
import numpy as np
from keras import ops

from keras_deit.core.abstract import build_abstract
from keras_deit.core.keras_internals import sublayers
from keras_deit.layers.initializers import skip_init
from keras_deit.layers.introspection import no_weight_decay, position_tables


@dataclasses.dataclass(frozen=True)
class Effect:
    """A constructor argument, another value for it, and what that value changes.

    Attributes:
        argument: its name.
        value: different from the one in the case.
        changes: a name in `OBSERVERS`.
        beside: other arguments, without which it has no effect.
    """

    argument: str
    value: object
    changes: str
    beside: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer or model to be tested.

    Attributes:
        kind: its class.
        arguments: a small configuration.
        input_shape: with the batch.
        effects: at least one for every constructor argument.
        reference: (inputs, weights by path) to the output, in NumPy.
        canceled: ends of the paths of biases that a batch normalization subtracts again in
            training, so that they have no gradient. Such a model computes something else in
            training than in inference.
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
        """Returns a built layer with the case's arguments, some of them changed."""
        keras.utils.set_random_seed(0)
        arguments = {**self.arguments, **changed}
        layer = self.kind(**arguments)
        if not layer.built:
            layer.build(self.inputs(**arguments).shape)
        return layer

    def build_random(self, deviation: float = 0.3, **changed):
        """Returns a built layer with random values in every weight, without initializing it."""
        with skip_init():
            layer = self.build(**changed)
        randomize(layer, deviation)
        return layer

    def rebuild(self, layer):
        """Returns the layer that a layer's configuration gives after a round trip through JSON."""
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
        keras.utils.set_random_seed(0)
        twin = keras.saving.deserialize_keras_object(config)
        if not twin.built:
            twin.build(self.inputs(**twin.get_config()).shape)
        return twin


def configuration(layer) -> str:
    """Returns the configuration as JSON, where tuples and lists are the same."""
    return json.dumps(layer.get_config(), sort_keys=True)


def numpy(value) -> np.ndarray:
    return ops.convert_to_numpy(ops.cast(value, "float32"))


def run(layer, inputs, training: bool = False):
    """Calls a layer or model. On JAX it is compiled, which takes less time than calling many
    operations that have to be compiled one by one; its state is not updated."""
    options = {"training": True} if training else {}
    if keras.backend.backend() != "jax":
        return layer(inputs, **options)
    import jax

    def call(values, inputs):
        with keras.StatelessScope(zip(layer.variables, values, strict=True)):
            return layer(inputs, **options)

    return jax.jit(call)([variable.value for variable in layer.variables], inputs)


def path_below(layer, variable) -> str:
    """Returns the path of a variable without the name of the layer itself."""
    return variable.path.removeprefix("" if isinstance(layer, keras.Model) else f"{layer.name}/")


def weights_by_path(layer) -> dict[str, np.ndarray]:
    """Returns the weights in float64, by their path below the layer."""
    return {path_below(layer, w): numpy(w).astype("float64") for w in layer.weights}


def layers_in(layer) -> Iterator[keras.layers.Layer]:
    """Yields all layers inside a layer."""
    for inner in sublayers(layer):
        yield inner
        yield from layers_in(inner)


def randomize(layer, deviation: float = 0.3) -> None:
    """Gives every weight random values, so that no bias is 0 and no factor is 1.

    Variances become positive; steps of binary probabilities are near the probabilities.
    """
    rng = np.random.default_rng(2)
    for weight in layer.weights:
        values = rng.normal(0, deviation, weight.shape).astype("float32")
        if weight.name in ("moving_variance", "step"):
            values = abs(values) + (deviation if weight.name == "step" else 0)
        weight.assign(values)


def has_gradient(case: Case, variable) -> bool:
    """Returns whether a variable has a gradient.

    Canceled biases have none, nor have biases that add the same to every logit of a softmax.
    """
    canceled = (*case.canceled, "/key/bias", "heads_before_softmax/bias")
    return not variable.path.endswith(canceled)


def constructor_arguments(kind: type) -> set[str]:
    """Returns the names of the arguments that a class adds to those of every Keras layer."""
    ours = [base for base in kind.__mro__ if base.__module__.startswith("keras_deit.")]
    if not any("__init__" in vars(base) for base in ours):
        return set()
    parameters = inspect.signature(kind).parameters.values()
    return {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}


def _shapes(case, layer):
    return {path_below(layer, weight): weight.shape for weight in layer.weights}


def _initial_values(case, layer):
    return [numpy(w) for w in layer.weights]


def _output(case, layer):
    randomize(layer)
    return [numpy(layer(case.inputs(**layer.get_config())))]


def _training_output(case, layer):
    randomize(layer)
    # On PyTorch Keras's dropout draws from PyTorch's global generator.
    keras.utils.set_random_seed(0)
    return [numpy(layer(case.inputs(**layer.get_config()), training=True))]


def _no_weight_decay(case, layer):
    return [path_below(layer, variable) for variable in no_weight_decay(layer)]


def _grids(case, layer):
    return [table.grid for table in position_tables(layer)]


OBSERVERS = {
    "shapes": _shapes,
    "initial values": _initial_values,
    "output": _output,
    "training output": _training_output,
    "weight decay": _no_weight_decay,
    "position grid": _grids,
}


def same(first, second) -> bool:
    """Returns whether two observations are equal to the bit."""
    if isinstance(first, dict):
        return first == second
    return len(first) == len(second) and all(map(np.array_equal, first, second))


_BASES: dict[tuple, object] = {}


def _base(case, effect):
    """Returns what is observed of a case's own arguments, which two builds have in common."""
    key = (id(case), effect.changes, repr(effect.beside))
    if key not in _BASES:
        observe = OBSERVERS[effect.changes]
        first, second = (observe(case, case.build(**effect.beside)) for _ in range(2))
        assert same(first, second)
        _BASES[key] = first
    return _BASES[key]


# What is observed without any values.
_WITHOUT_VALUES = ("shapes", "weight decay", "position grid")


def assert_effect(case: Case, effect: Effect) -> None:
    """Fails unless a constructor argument changes what it says, and is in the configuration."""
    if effect.changes in _WITHOUT_VALUES:
        build_abstract(lambda: _assert_effect(case, effect))
    elif effect.changes == "initial values":
        _assert_effect(case, effect)
    else:
        # Random values replace the initial ones.
        with skip_init():
            _assert_effect(case, effect)


def _assert_effect(case, effect):
    observe = OBSERVERS[effect.changes]
    base = _base(case, effect)
    changed = case.build(**{**effect.beside, effect.argument: effect.value})
    rebuilt = case.rebuild(changed)
    assert configuration(rebuilt) == configuration(changed)
    observed = observe(case, changed)
    assert not same(base, observed)
    assert same(observed, observe(case, rebuilt))
