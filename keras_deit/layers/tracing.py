"""Which layers and operations a call goes through, and with which shapes."""

import contextlib
import functools
import inspect
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras

from keras_deit.core.errors import InputError, first_line
from keras_deit.core.keras_internals import GraphNode, sublayers, symbolic_graph

Shape = tuple[int, ...]
ANSWERS = "macs(input_shape) and saved_activations(input_shape, costs)"


class TracedCall(NamedTuple):
    """One call of a layer or operation.

    Attributes:
        operation: a layer, or an operation of `keras.ops`.
        arguments: its arguments in the order of its signature, with structures flattened.
        outputs: the shapes of its results.
    """

    operation: keras.Operation
    arguments: list
    outputs: list[Shape]

    @property
    def inputs(self) -> list[Shape]:
        """The shapes of the tensors among its arguments, those of variables excluded."""
        tensors = [x for x in self.arguments if not isinstance(x, keras.Variable)]
        return _shapes(tensors)

    @property
    def input_shape(self) -> Shape | list[Shape]:
        """The shape of its one input, or the list of the shapes of several."""
        return self.inputs[0] if len(self.inputs) == 1 else self.inputs


def own_matrices(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer has a variable of rank 2 or more that none of its sublayers has."""
    inside = {id(weight) for inner in sublayers(layer) for weight in inner.weights}
    return any(len(w.shape) > 1 and id(w) not in inside for w in layer.weights)


def of_keras(layer: keras.Operation) -> bool:
    """Returns whether Keras defines the class of a layer or operation."""
    return type(layer).__module__.partition(".")[0] == "keras"


def has_answer(layer: keras.layers.Layer, method: str) -> bool:
    """Returns whether a layer is asked as a whole, not by the layers inside."""
    if isinstance(layer, keras.Model):
        return False
    return hasattr(layer, method) or of_keras(layer) or not sublayers(layer)


def trace(
    layer: keras.layers.Layer, input_shape: Shape | list[Shape], method: str
) -> Iterator[TracedCall]:
    """Runs `call` symbolically on one image and yields the calls in it, from first to last.

    Layers inside that do not answer are traced too. Branches into which no result leads are left
    out, and so is what is computed from variables alone.

    Args:
        layer: built; a model is a layer too.
        input_shape: (batch, ...), or a list of them for several inputs; the batch size is not used.
        method: the name of the method by which a layer answers.

    Raises:
        InputError: a layer cannot be traced, or has matrices of its own.
    """
    shapes = input_shape if isinstance(input_shape, list) else [input_shape]
    inputs = [keras.KerasTensor((1, *shape[1:]), layer.compute_dtype) for shape in shapes]
    separate = len(inputs) <= max(1, _tensor_parameters(layer))
    yield from _trace(layer, tuple(inputs) if separate else (inputs,), {}, method)


def _tensor_parameters(layer: keras.layers.Layer) -> int:
    """Returns how many tensors the method `call` takes side by side."""
    parameters = inspect.signature(layer.call).parameters.values()
    names = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
    return len(names - {"training", "mask"})


def _trace(layer, args: tuple, kwargs: dict, method: str) -> Iterator[TracedCall]:
    for node in _graph(layer, args, kwargs):
        called = node.operation
        if isinstance(called, keras.layers.Layer) and not has_answer(called, method):
            yield from _trace(called, node.args, node.kwargs, method)
        else:
            arguments = _flat_arguments(called, node.args, node.kwargs)
            yield TracedCall(called, arguments, _shapes(node.outputs))


def _graph(layer: keras.layers.Layer, args: tuple, kwargs: dict) -> list[GraphNode]:
    if own_matrices(layer):
        raise InputError(
            f"{type(layer).__name__} has matrices of its own and should have methods {ANSWERS}."
        )
    try:
        return symbolic_graph(layer.call, args, kwargs)
    except Exception as error:
        raise InputError(
            f"{type(layer).__name__} should have methods {ANSWERS}, "
            f"because its `call` does not take symbolic tensors: {first_line(error)}"
        ) from error


def _flat_arguments(operation: keras.Operation, args: tuple, kwargs: dict) -> list:
    """Returns the arguments of a call in the order of the signature, with structures flattened."""
    bound = inspect.signature(operation.call).bind(*args, **kwargs)
    return keras.tree.flatten(tuple(bound.arguments.values()))


def model_input_shape(model: keras.Model) -> list[Shape]:
    """Returns the shapes of a functional model's inputs.

    Raises:
        InputError: a size is not fixed.
    """
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if any(None in shape[1:] for shape in shapes):
        raise InputError(f"The model {model.name} should have a fixed image size: {shapes}")
    return shapes


def trace_calls(
    layer: keras.layers.Layer,
    input_shape: tuple,
    is_leaf: Callable[[keras.layers.Layer], bool] = lambda layer: False,
) -> list[TracedCall]:
    """Calls a layer in the backend and records the calls of the innermost layers in it.

    Unlike `trace` it takes whatever the layer does, but sees no operations.

    Args:
        layer: built; a model is a layer too.
        input_shape: (batch, ...); the batch size is not used.
        is_leaf: whether the search stops at a layer; it stops at layers without sublayers anyway.
    """
    calls: list[TracedCall] = []
    leaves = {id(leaf): leaf for inner in sublayers(layer) for leaf in _leaves(inner, is_leaf)}
    with contextlib.ExitStack() as stack:
        for leaf in leaves.values():
            stack.enter_context(_recorded(leaf, calls))
        _Caller(layer)(keras.Input(batch_shape=(1, *input_shape[1:])))
    return calls


def largest_call(layer: keras.layers.Layer, input_shape: tuple) -> int:
    """Returns the number of values in inputs and outputs of the largest layer inside, of one image.

    A forward pass that saves nothing holds about as many. The arguments are those of `trace_calls`.
    """
    calls = trace_calls(layer, input_shape)
    return max(sum(map(math.prod, call.inputs + call.outputs)) for call in calls)


class _Caller(keras.layers.Layer):
    """Calls a layer. Without a method `compute_output_shape` Keras has to run `call`."""

    def __init__(self, layer: keras.layers.Layer):
        super().__init__(dtype="float32")
        self.layer = layer
        self.built = True

    def call(self, inputs):
        return self.layer(inputs)


def _leaves(layer, is_leaf) -> Iterator[keras.layers.Layer]:
    below = [] if is_leaf(layer) else sublayers(layer)
    if not below:
        yield layer
    for inner in below:
        yield from _leaves(inner, is_leaf)


@contextlib.contextmanager
def _recorded(layer: keras.layers.Layer, calls: list[TracedCall]) -> Iterator[None]:
    call = layer.call

    @functools.wraps(call)
    def recorded_call(*args, **kwargs):
        outputs = call(*args, **kwargs)
        calls.append(TracedCall(layer, _flat_arguments(layer, args, kwargs), _shapes(outputs)))
        return outputs

    # Keras would track an attribute that is assigned normally.
    object.__setattr__(layer, "call", recorded_call)
    try:
        yield
    finally:
        object.__delattr__(layer, "call")


def _shapes(structure) -> list[Shape]:
    return [tuple(x.shape) for x in keras.tree.flatten(structure) if hasattr(x, "shape")]
