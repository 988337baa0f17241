"""Reads `.weights.h5` files without a model."""

import h5py
import numpy as np


def stored_weights(path) -> dict[str, np.ndarray]:
    """Returns the weights in a `.weights.h5` file by name, without the record of the model."""
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: arrays.update({name: item[()]}) if hasattr(item, "shape") else None
        )
    arrays.pop("keras_deit", None)
    return arrays
