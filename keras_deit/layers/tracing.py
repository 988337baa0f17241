"""Which layers a call goes through, and with which shapes."""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras

from keras_deit.core.keras_internals import functional_calls, sublayers


class TracedCall(NamedTuple):
    """One call of a layer.

    Attributes:
        layer: that was called.
        inputs, outputs: the shapes of its tensors, batch size 1.
    """

    layer: keras.layers.Layer
    inputs: list[tuple[int, ...]]
    outputs: list[tuple[int, ...]]


def trace_calls(
    layer: keras.layers.Layer,
    input_shape: tuple,
    is_leaf: Callable[[keras.layers.Layer], bool] = lambda layer: False,
) -> list[TracedCall]:
    """Calls a layer symbolically and records the calls of the innermost layers in it.

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


def functional_layers(model: keras.Model) -> Iterator[tuple[keras.layers.Layer, tuple]]:
    """Yields the calls of layers in a functional model and in the models in it.

    Args:
        model: functional or sequential, built.

    Yields:
        The layer and the shape of its input, the first one of several; a layer that is called
        twice comes twice.
    """
    for layer, shapes in functional_calls(model):
        if isinstance(layer, keras.Model):
            yield from functional_layers(layer)
        else:
            yield layer, shapes[0]


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

    def recorded_call(inputs, *args, **kwargs):
        outputs = call(inputs, *args, **kwargs)
        calls.append(TracedCall(layer, _shapes(inputs), _shapes(outputs)))
        return outputs

    # Keras would track an attribute that is assigned normally.
    object.__setattr__(layer, "call", recorded_call)
    try:
        yield
    finally:
        object.__delattr__(layer, "call")


def _shapes(structure) -> list[tuple[int, ...]]:
    return [tuple(x.shape) for x in keras.tree.flatten(structure) if hasattr(x, "shape")]
