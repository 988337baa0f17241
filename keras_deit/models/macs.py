"""Multiply-adds of a model."""

import keras

from keras_deit.layers.introspection import model_macs


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
