"""Multiply-adds of a model."""

import keras

from keras_deit.layers.introspection import layer_macs
from keras_deit.layers.tracing import functional_layers


def count_macs(model: keras.Model) -> int:
    """Returns the multiply-adds of a functional model for one image: the papers' FLOPs.

    Matrix products and convolutions count; biases, norms, activations, softmax and sums do not.
    Divide by 10⁹ for the unit of the tables.

    Args:
        model: functional, with a fixed image size; its layers may be models.

    Raises:
        InputError: a layer has matrices, and no method that says how it uses them.
    """
    return sum(layer_macs(layer, shape) for layer, shape in functional_layers(model))
