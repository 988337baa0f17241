"""Published weights into a model."""

import logging
import pathlib

import keras
import numpy as np

from keras_deit.errors import InputError
from keras_deit.models import Classifier
from keras_deit.pretrained.assigning import assign
from keras_deit.pretrained.matching import match
from keras_deit.pretrained.own_weights import load_own_weights
from keras_deit.pretrained.positions import patch_grid_of, resize_positions
from keras_deit.pretrained.sources import is_own_weights, local_file, open_tensors
from keras_deit.pretrained.tensor_file import TensorFile

_logger = logging.getLogger("keras_deit")


def load_pretrained(model: Classifier, source: str | pathlib.Path) -> None:
    """Loads weights into a model, all of them or none.

    Every tensor of the file and every weight of the model has to be accounted for, with two
    exceptions. Where the file has another class count, the heads (and the class tokens, where
    every class has one) keep the weights they have, and a warning says so. Where the model was
    built for another image size, the positions are resized as the authors do.

    Args:
        model: of this package.
        source: the path of a file (`.safetensors`; `.pth`, `.pt` or `.bin`, which need PyTorch;
            `.weights.h5` or `.keras` of this package), or `hf://OWNER/NAME`, such as
            `hf://timm/deit_tiny_patch16_224.fb_in1k`. Names of tensors may be the authors',
            timm's or, for DeiT, Hugging Face's.

    Raises:
        InputError: the file cannot be read, is of another architecture or does not fit; the model
            is as it was.
    """
    load_weights(model, source)


def load_weights(model: Classifier, source: str | pathlib.Path) -> list[keras.Variable]:
    """What `load_pretrained` does; gives the weights that were kept."""
    path = local_file(source)
    if is_own_weights(path):
        load_own_weights(model, path)
        return []
    return load_tensors(model, open_tensors(path, source))


def load_tensors(model: Classifier, file: TensorFile) -> list[keras.Variable]:
    """What `load_pretrained` does, from a file that is open; gives the weights that were kept."""
    matched = match(model, file)
    # All is read and checked before anything is assigned: a model is never half loaded.
    tensors = {
        name: _finite(file.read(name), name, file)
        for entry in matched.loaded
        for name in entry.names
    }
    for entry in matched.loaded:
        value = entry.value([tensors.pop(name) for name in entry.names])
        if entry.path == "position_embedding/positions" and matched.grid:
            value = resize_positions(value, matched.grid, patch_grid_of(model))
        assign(entry.variable, value)
    if matched.kept:
        kept = ", ".join(dict.fromkeys(entry.path.split("/")[0] for entry in matched.kept))
        _logger.warning(
            "%s has another class count than the %d of this model; not loaded: %s.",
            *(file.source, model.num_classes, kept),
        )
    return [entry.variable for entry in matched.kept]


def _finite(tensor: np.ndarray, name: str, file: TensorFile) -> np.ndarray:
    if not np.isfinite(tensor).all():
        raise InputError(f"{file.source} is broken: {name} has values that are not finite.")
    return tensor
