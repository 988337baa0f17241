"""The weights of a model of ours as a file would hold them."""

from pathlib import Path

import keras
import numpy as np

from keras_deit.errors import InputError
from keras_deit.models import Classifier
from keras_deit.pretrained.naming import Table, model_entries, tables
from keras_deit.pretrained.positions import patch_grid_of
from keras_deit.pretrained.tensor_file import TensorFile, first_line


class ModelTensors(TensorFile):
    """A model's weights by the names of a naming.

    Args:
        model: of this package.
        source: what errors call it.
        table: the naming; by default the authors'.
    """

    def __init__(self, model: Classifier, source: str, table: Table | None = None):
        entries = model_entries(model, table or tables(model)["authors"])
        self.source = source
        self.grid = patch_grid_of(model)
        self.shapes = {name: entry.tensor_shape for entry in entries for name in entry.names}
        self._owners = {name: entry for entry in entries for name in entry.names}

    def read(self, name: str) -> np.ndarray:
        entry = self._owners[name]
        tensor = entry.tensors()[entry.names.index(name)]
        return np.array(tensor, order="C")


def read_model(path: Path, source: str) -> Classifier:
    """The model in a `.keras` file.

    Raises:
        InputError: it is no such file, or its model is none of this package.
    """
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # it may be anything, of a file that is broken
        raise InputError(f"{source} cannot be read as a Keras file: {first_line(error)}") from error
    if not isinstance(model, Classifier):
        raise InputError(f"{source} holds a {type(model).__name__}, no model of this package.")
    return model
