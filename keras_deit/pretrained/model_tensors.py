"""The weights of a model as a file of tensors, and writing them to one."""

import json
import pathlib

import numpy as np

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.files import atomic_write, disk_errors_as_input_errors
from keras_deit.core.image_format import IMAGENET_MEAN, IMAGENET_STD
from keras_deit.core.keras_file import load_keras_file
from keras_deit.models import Classifier
from keras_deit.models.records import model_record
from keras_deit.models.weight_names import model_entries
from keras_deit.pretrained.safetensors_file import (
    CHECKSUMS_KEY,
    GRID_KEY,
    NORMALIZATION_KEY,
    RECORD_KEY,
    checksum,
    metadata_checksum,
)
from keras_deit.pretrained.tensor_file import TensorFile

NAMINGS = ("timm", "authors")


class ModelTensors(TensorFile):
    """A model's weights by the names of published files.

    Args:
        model: model of this package.
        source: what errors call it.
        naming: "authors", or "timm", which means the authors' names if timm's are the same or
            timm lacks the model. A model without published names has the paths of its variables.

    Raises:
        InputError: there is no such naming.
    """

    def __init__(self, model: Classifier, source: str, naming: str = "authors"):
        if naming not in NAMINGS:
            raise unknown_name("naming", naming, NAMINGS)
        tables = model.weight_names()
        entries = model_entries(model, tables.get(naming) or tables.get("authors", {}))
        self.source = source
        self.normalization = (model.image_format.mean, model.image_format.std)
        self.record = model_record(model)
        grids = {id(table.variable): table.grid for table in model.position_tables() if table.grid}
        variables = {entry.names[0]: id(entry.variable) for entry in entries}
        self.grids = {name: grids[key] for name, key in variables.items() if key in grids}
        self.shapes = {name: entry.tensor_shape for entry in entries for name in entry.names}
        self._owners = {name: entry for entry in entries for name in entry.names}

    def read(self, name: str) -> np.ndarray:
        entry = self._owners[name]
        tensor = entry.tensors()[entry.names.index(name)]
        return np.array(tensor, order="C")


def read_model(path: pathlib.Path, source: str) -> Classifier:
    """Returns the model in a `.keras` file.

    Raises:
        InputError: the file cannot be read, or its model is not one of this package.
    """
    model = load_keras_file(path, source)
    if not isinstance(model, Classifier):
        raise InputError(f"{source} holds a {type(model).__name__}, not a model of this package.")
    return model


def save_safetensors(model: Classifier, path: str | pathlib.Path, naming: str = "timm") -> None:
    """Writes a model's weights in float32 and PyTorch's layout.

    For a model that is not in timm, "timm" means the authors' names.

    Args:
        model: model of this package.
        path: path of the file; an existing one is replaced.
        naming: "timm" or "authors".

    Raises:
        InputError: there is no such naming, or the disk is full.
    """
    from safetensors.numpy import save_file

    tensors = ModelTensors(model, model.name, naming)
    metadata = {"format": "pt"}
    if tensors.grids:
        metadata[GRID_KEY] = json.dumps(tensors.grids)
    if tensors.normalization != (IMAGENET_MEAN, IMAGENET_STD):
        metadata[NORMALIZATION_KEY] = json.dumps(tensors.normalization)
    values = {name: tensors.read(name) for name in tensors.shapes}
    metadata[RECORD_KEY] = json.dumps(tensors.record)
    checksums = {name: checksum(value) for name, value in values.items()}
    metadata[CHECKSUMS_KEY] = json.dumps({**checksums, "": metadata_checksum(metadata)})
    path = pathlib.Path(path)
    with disk_errors_as_input_errors(str(path)), atomic_write(path) as partial:
        save_file(values, partial, metadata)
