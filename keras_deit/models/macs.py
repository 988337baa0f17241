"""Multiply-adds of a whole model."""

import keras

from keras_deit.errors import InputError
from keras_deit.layers.macs import layer_macs


def count_macs(model: keras.Model) -> int:
    """Multiply-adds of a functional model for one image: what the papers' tables call FLOPs.

    Counted are matrix products and convolutions; biases, norms, activations, softmax and sums
    are not. Divide by 10⁹ for the tables' unit.

    Args:
        model: functional, with a fixed image size; its layers may be models in turn.

    Raises:
        InputError: a layer with matrices of which it is not known how they are used.
    """
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            total += count_macs(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            total += _layer_macs(layer)
    return total


def _layer_macs(layer: keras.layers.Layer) -> int:
    if not layer.weights:
        return 0
    try:
        shape = layer.input.shape
    except AttributeError as error:  # Keras's, for a layer without one single input
        raise InputError(f"{layer.name} should have one input, in a functional model.") from error
    return layer_macs(layer, shape)
