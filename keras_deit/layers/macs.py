"""Counting multiply-adds."""

import math

import keras

from keras_deit.errors import InputError


def layer_macs(layer: keras.layers.Layer, input_shape: tuple) -> int:
    """Multiply-adds of a layer for one sample: those of its matrix products and convolutions.

    Biases, norms, activations and softmax are left out, as in the tables of the papers, which
    call the figure FLOPs. A layer made of others says by a method `macs(input_shape)`.

    Args:
        layer: a built layer.
        input_shape: of its input, (batch, ...); the batch is not read.

    Raises:
        InputError: a layer with matrices of which it is not known how they are used.
    """
    if hasattr(layer, "macs"):
        return layer.macs(input_shape)
    if isinstance(layer, keras.layers.Dense):
        return math.prod(input_shape[1:]) * layer.units
    if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
        height, width, channels = layer.compute_output_shape(input_shape)[1:]
        kernel_height, kernel_width, fan_in, _ = layer.kernel.shape
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            fan_in = 1
        return height * width * channels * kernel_height * kernel_width * fan_in
    matrices = [weight.path for weight in layer.weights if len(weight.shape) > 1]
    if matrices:
        raise InputError(
            f"Nothing says how {type(layer).__name__} uses {matrices[0]}: "
            "it should have a method macs(input_shape)."
        )
    return 0
