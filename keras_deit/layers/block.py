"""The base class of a model's blocks."""

import contextlib
import functools
from collections.abc import Callable, Iterator

import keras

from keras_deit.core.errors import InputError
from keras_deit.core.recomputation import recomputed, repeats
from keras_deit.layers.activations import ActivationCosts, SavedActivations, traced_activations
from keras_deit.layers.introspection import traced_macs
from keras_deit.layers.settings import CompositeLayer


class Block(CompositeLayer):
    """A block: the unit of layer-wise learning rate decay, activation checkpointing and of the
    outputs and attention maps by layer.

    The methods below answer from the layers and operations in `call`, which therefore has to take
    symbolic tensors: `keras.ops` instead of functions of a backend.

    Activation checkpointing keeps only the input of a block for the backward pass and computes the
    rest a second time ("Training Deep Nets with Sublinear Memory Cost", Chen et al., 2016). It is
    a setting of a training, not of the model, so it is in no configuration. A block supports it by
    `supports_activation_checkpointing = True` and by running its forward pass through
    `checkpointed`. Random numbers that are drawn by `keras.random` in it, by layers or by itself,
    are the same the second time.
    """

    supports_activation_checkpointing = False
    activation_checkpointing = False
    _compares = False

    def checkpointed(self, function, inputs, training: bool):
        """Returns `function(inputs)`, with activation checkpointing in training if it is on.

        Raises:
            InputError: in `comparing()`, if the second computation differs.
        """
        if not (self.activation_checkpointing and training):
            return function(inputs)
        layer = _Recomputed(function, dtype=self.dtype_policy, name="recomputed")
        run = functools.partial(layer, training=training)
        if self._compares and not repeats(run, inputs):
            raise InputError(
                f"{type(self).__name__} {self.name} does not compute the same a second time, as "
                "activation checkpointing needs: random layers inside should draw by keras.random. "
                "Train without --activation_checkpointing otherwise."
            )
        outputs, losses = recomputed(run, inputs)
        for loss in losses:
            self.add_loss(loss)
        return outputs

    @contextlib.contextmanager
    def comparing(self) -> Iterator[None]:
        """Makes `checkpointed` compute everything twice and compare, during the block."""
        self._compares = True
        try:
            yield
        finally:
            self._compares = False

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds of the layers and operations inside for one image."""
        return traced_macs(self, input_shape)

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what the layers and operations inside save of one image."""
        return traced_activations(self, input_shape, costs)


class _Recomputed(keras.layers.Layer):
    """Calls a function as part of a layer.

    In the backward pass, where a block is computed a second time, Keras does not know any more
    whether it is in training, nor the precision. A layer that is called tells the layers inside.
    """

    def __init__(self, function: Callable, **kwargs):
        super().__init__(**kwargs)
        self._function = function

    def call(self, inputs, training=False):
        return self._function(inputs)
