"""Weights of this package in others' layouts."""

import json
import pathlib

from keras_deit.models import Classifier
from keras_deit.pretrained.files import whole_or_not_at_all
from keras_deit.pretrained.model_tensors import ModelTensors
from keras_deit.pretrained.naming import table_to_write
from keras_deit.pretrained.safetensors_file import GRID_KEY


def save_safetensors(model: Classifier, path: str | pathlib.Path, naming: str = "timm") -> None:
    """Writes a model's weights, float32, so that PyTorch code can read them.

    PatchConvNet and the convolutional stem of DeiT III are not in timm: there, "timm" means the
    authors' names.

    Args:
        model: of this package.
        path: of the file; one that is there is replaced.
        naming: "timm" or "authors".

    Raises:
        InputError: there is no such naming, or the model is none of this package.
    """
    from safetensors.numpy import save_file

    tensors = ModelTensors(model, model.name, table_to_write(model, naming))
    metadata = {"format": "pt"}
    if tensors.grid:
        metadata[GRID_KEY] = json.dumps(tensors.grid)
    values = {name: tensors.read(name) for name in tensors.shapes}
    with whole_or_not_at_all(pathlib.Path(path)) as partial:
        save_file(values, partial, metadata)
