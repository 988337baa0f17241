"""The weights of a model as a file of tensors, and writing them to one."""

import json
import pathlib
from collections.abc import Callable

import keras
import numpy as np

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.files import atomic_write, disk_errors_as_input_errors, user_path
from keras_deit.core.image_format import IMAGENET_MEAN, IMAGENET_STD
from keras_deit.core.keras_file import load_keras_file
from keras_deit.layers.introspection import binary_weights
from keras_deit.models import Classifier
from keras_deit.models.records import model_record
from keras_deit.models.weight_names import Entry, model_entries
from keras_deit.pretrained.binary_weights import BITS, SUMS, pack, rows_of, tensor_of
from keras_deit.pretrained.safetensors_file import (
    BINARY_KEY,
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

    def entry(self, name: str) -> Entry:
        """Returns the variable that a tensor is of, and how."""
        return self._owners[name]

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


def save_safetensors(
    model: Classifier, path: str | pathlib.Path, naming: str = "timm", binary: bool = False
) -> None:
    """Writes a model's weights in float32 and PyTorch's layout.

    For a model that is not in timm, "timm" means the authors' names.

    Args:
        model: model of this package.
        path: path of the file; an existing one is replaced.
        naming: "timm" or "authors".
        binary: whether weights that the model computes with as two values for each output are
            written as bits, which only this package reads; see `binary_weights`.

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
    bits = _bits(model, tensors) if binary else {}
    if bits:
        metadata[BINARY_KEY] = json.dumps({name: form for name, (form, _) in bits.items()})
    values = {name: tensors.read(name) for name in tensors.shapes if name not in bits}
    for _, parts in bits.values():
        values |= parts
    metadata[RECORD_KEY] = json.dumps(tensors.record)
    checksums = {name: checksum(value) for name, value in values.items()}
    metadata[CHECKSUMS_KEY] = json.dumps({**checksums, "": metadata_checksum(metadata)})
    path = user_path(path)
    with disk_errors_as_input_errors(str(path)), atomic_write(path) as partial:
        save_file(values, partial, metadata)


class _BinaryTensor:
    """A tensor that a model computes with as two values for each output.

    Args:
        entry: the variable that it is of, and how.
        function: from the variable's values to those that the model computes with.
    """

    def __init__(self, entry: Entry, function: Callable):
        self._entry, self._function = entry, function
        *others, outputs = entry.shape
        index = np.broadcast_to(np.arange(outputs), (*others, outputs))
        (tensor,) = entry.split(index)
        self._shape = tensor.shape
        # The last axis of the variable.
        axes = range(tensor.ndim)
        self._axis = next(x for x in axes if np.ptp(rows_of(tensor, x), axis=1).max() == 0)

    def form(self) -> dict:
        """Returns what a file says of the tensor, besides its bits."""
        return {"shape": list(self._shape), "axis": self._axis}

    def packed(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Returns its signs and sums, see `pack`."""
        # Of the variable itself, because a copy may be summed in another order.
        return pack(self._rounded(self._entry.variable.value), self._computed)

    def _computed(self, rows: np.ndarray) -> np.ndarray:
        value = self._entry.value([tensor_of(rows, self._shape, self._axis)])
        return self._rounded(keras.ops.convert_to_tensor(value))

    def _rounded(self, value) -> np.ndarray:
        (tensor,) = self._entry.split(keras.ops.convert_to_numpy(self._function(value)))
        return rows_of(tensor, self._axis)


def _bits(model: Classifier, tensors: ModelTensors) -> dict[str, tuple[dict, dict]]:
    """Returns the binary weights of a model as bits.

    Returns:
        By the name of a tensor: what the file says of it, and its parts by name.
    """
    functions = {id(variable): function for variable, function in binary_weights(model)}
    found = {}
    for name in tensors.shapes:
        entry = tensors.entry(name)
        function = functions.get(id(entry.variable))
        # What LoRA adds is a part of the tensor but not of the variable.
        if function is None or len(entry.names) > 1 or entry.lora is not None:
            continue
        tensor = _BinaryTensor(entry, function)
        packed = tensor.packed()
        if packed is not None:
            parts = dict(zip((name + BITS, name + SUMS), packed, strict=True))
            found[name] = (tensor.form(), parts)
    return found
