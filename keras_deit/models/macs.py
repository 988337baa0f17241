"""Multiply-adds of a model, and its operations if some of them are of binary numbers."""

import math

import keras

from keras_deit.layers import Affine
from keras_deit.layers.introspection import model_macs
from keras_deit.layers.tracing import model_input_shape, trace

# Binary multiply-adds that a processor of 64 bits does at once.
_WORD = 64


def count_macs(model: keras.Model) -> int:
    """Returns the multiply-adds of a functional model for one image: the papers' FLOPs.

    Matrix products and convolutions count; biases, norms, activations, softmax and sums do not.
    Divide by 10⁹ for the unit of the tables.

    Args:
        model: functional, with a fixed image size; its layers may be models. Its method `macs`
            answers if it has one, as each `Classifier` does.

    Raises:
        InputError: a layer has matrices, and no method that says how it uses them; or an operation
            is not known.
    """
    return model.macs() if hasattr(model, "macs") else model_macs(model)


def count_operations(model: keras.Model) -> float:
    """Returns the operations of a model with binary layers for one image: BOPs/64 + FLOPs.

    BOPs are the multiply-adds of binary numbers, of which 64 count as one. FLOPs are the other
    multiply-adds, and the multiplications of affine transformations α⊙x + β. What else the papers'
    FLOPs consist of is not said; this makes the 0.79·10⁸ of BinaryViT (Le and Li, 2023, table 2).

    Args:
        model: functional, with a fixed image size.

    Raises:
        InputError: what `count_macs` raises.
    """
    binary = scaled = 0
    for call in trace(model, model_input_shape(model), "binary_macs"):
        layer = call.operation
        if hasattr(layer, "binary_macs"):
            binary += call.inputs[0][0] * layer.binary_macs(call.input_shape)
        elif isinstance(layer, Affine):
            scaled += math.prod(call.inputs[0])
    return binary / _WORD + count_macs(model) - binary + scaled
