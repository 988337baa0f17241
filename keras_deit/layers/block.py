"""The base class of a model's blocks."""

import keras

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
    `checkpointed`. Random numbers must be drawn before and passed in, because Keras's seed
    generators would draw others the second time.
    """

    supports_activation_checkpointing = False
    activation_checkpointing = False

    def checkpointed(self, function, inputs, training: bool):
        """Returns `function(inputs)`, with activation checkpointing in training if it is on."""
        run = keras.remat(function) if self.activation_checkpointing and training else function
        return run(inputs)

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds of the layers and operations inside for one image."""
        return traced_macs(self, input_shape)

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what the layers and operations inside save of one image."""
        return traced_activations(self, input_shape, costs)
