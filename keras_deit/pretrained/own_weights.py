"""This package's own weight files."""

import pathlib
from collections import Counter

import keras

from keras_deit.core.errors import InputError, first_line
from keras_deit.core.keras_internals import left_out_weights_are_errors, stored_shapes
from keras_deit.layers.settings import lora_parts

OWN_SUFFIX = ".weights.h5"


def load_own_weights(model: keras.Model, path: pathlib.Path) -> None:
    """Loads a `.weights.h5` file that a model of the same sizes wrote.

    Raises:
        InputError: it is no such file, or it does not fit the model, which is then unchanged.
    """
    before = [keras.ops.convert_to_numpy(weight.value) for weight in model.weights]
    try:
        _check_shapes(model, path)
        with left_out_weights_are_errors():
            model.load_weights(path)
    except Exception as error:  # h5py and Keras raise anything for a corrupt file
        # Keras assigns layer by layer, and may have assigned some.
        for weight, value in zip(model.weights, before, strict=True):
            weight.assign(value)
        raise InputError(f"{path} does not fit {model.name}: {first_line(error)}") from error


def _check_shapes(model: keras.Model, path: pathlib.Path) -> None:
    """Compares all shapes, because Keras ignores what a file holds beyond the model's layers, such
    as more blocks."""
    shapes = stored_shapes(path)
    # Keras merges LoRA into the kernel when it saves.
    factors = {id(factor) for part in lora_parts(model) for factor in (part.first, part.second)}
    weights = [weight for weight in model.weights if id(weight) not in factors]
    if len(shapes) != len(weights):
        raise ValueError(f"it holds {len(shapes)} weights, the model has {len(weights)}.")
    held, wanted = Counter(shapes), Counter(tuple(weight.shape) for weight in weights)
    if held != wanted:
        pairs = (sorted(held - wanted), sorted(wanted - held))
        received, expected = (", ".join(map(str, pair)) for pair in pairs)
        raise ValueError(f"it holds shapes {received} where the model has {expected}.")
