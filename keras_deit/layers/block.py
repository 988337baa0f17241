"""The base class of a model's blocks."""

import keras

from keras_deit.core.errors import missing_method
from keras_deit.core.keras_internals import sublayers
from keras_deit.layers.activations import ActivationCosts, SavedActivations, saved_activations
from keras_deit.layers.introspection import layer_macs
from keras_deit.layers.tracing import trace_calls


class Block(keras.layers.Layer):
    """A block: the unit of layer-wise learning rate decay, activation checkpointing and of the
    outputs and attention maps by layer.

    The methods below answer from the layers inside. A block whose `call` multiplies what two of
    them computed, as an attention does, counts that in methods of its own.

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
        """Returns the multiply-adds of the layers inside for one image."""
        inside = {id(weight) for layer in sublayers(self) for weight in layer.weights}
        if any(len(w.shape) > 1 and id(w) not in inside for w in self.weights):
            raise missing_method(self, "macs(input_shape)", "counting multiply-adds")
        calls = trace_calls(self, input_shape, lambda layer: hasattr(layer, "macs"))
        return sum(layer_macs(call.layer, call.inputs[0]) for call in calls)

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what the layers inside save of one image for the backward pass."""
        calls = trace_calls(self, input_shape, lambda layer: hasattr(layer, "saved_activations"))
        saved = (saved_activations(call.layer, call.inputs[0], costs) for call in calls)
        return sum(saved, SavedActivations())
