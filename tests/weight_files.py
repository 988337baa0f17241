"""Reads `.weights.h5` files without a model."""

import h5py
import numpy as np


def stored_weights(path) -> dict[str, np.ndarray]:
    """Returns the arrays of a `.weights.h5` file by name."""
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: arrays.update({name: item[()]}) if hasattr(item, "shape") else None
        )
    return arrays
