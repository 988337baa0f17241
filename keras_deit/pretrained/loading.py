"""Loading weights of any source into a model."""

import logging
import pathlib

import keras
import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.models import Classifier
from keras_deit.pretrained.matching import match
from keras_deit.pretrained.own_weights import load_own_weights
from keras_deit.pretrained.sources import is_own_weights, local_file, open_tensors
from keras_deit.pretrained.tensor_file import TensorFile

_logger = logging.getLogger("keras_deit")

# A transposed array is copied in strips of columns that stay in the cache. That is two to four
# times as fast as all at once, and faster than transposing in TensorFlow or JAX on two cores.
_STRIP = 32


def load_pretrained(model: Classifier, source: str | pathlib.Path) -> None:
    """Loads weights into a model: all of them or none.

    Every tensor of the file and every weight of the model must be accounted for, with two
    exceptions. If the file has another number of classes, the heads (and the class tokens, if each
    class has one) keep their weights, and a warning says so. If the model was built for another
    image size, the positions are resized as the authors do.

    Args:
        model: model of this package.
        source: the path of a file (`.safetensors`; `.pth`, `.pt` or `.bin`, which need PyTorch;
            `.weights.h5` or `.keras` of this package), or `hf://OWNER/NAME`, such as
            `hf://timm/deit_tiny_patch16_224.fb_in1k`. Names of tensors may be those of
            every publisher in the family's `weight_tables`.

    Raises:
        InputError: the file cannot be read, holds another architecture or does not fit; the model
            does not change.
    """
    load_weights(model, source)


def load_weights(model: Classifier, source: str | pathlib.Path) -> list[keras.Variable]:
    """Does what `load_pretrained` does, and returns the variables that were not loaded."""
    path = local_file(source)
    if is_own_weights(path):
        load_own_weights(model, path)
        return []
    return load_tensors(model, open_tensors(path, source))


def load_tensors(model: Classifier, file: TensorFile) -> list[keras.Variable]:
    """Does what `load_weights` does, from an open file."""
    matched = match(model, file)
    # Everything is read and checked before the first assignment, so a model is never half loaded.
    tensors = {
        name: _finite(file.read(name), name, file)
        for entry in matched.loaded
        for name in entry.names
    }
    for entry in matched.loaded:
        value = entry.value([tensors.pop(name) for name in entry.names])
        resize = matched.resized.get(id(entry.variable))
        if resize is not None:
            value = resize.table.resize(value, resize.source, resize.table.grid)
        _assign(entry.variable, value)
    if matched.kept:
        kept = ", ".join(dict.fromkeys(entry.path.split("/")[0] for entry in matched.kept))
        _logger.warning(
            "%s has another number of classes than the %d of this model; not loaded: %s.",
            *(file.source, model.num_classes, kept),
        )
    return [entry.variable for entry in matched.kept]


def _finite(tensor: np.ndarray, name: str, file: TensorFile) -> np.ndarray:
    if not np.isfinite(tensor).all():
        raise InputError(f"{file.source} is corrupt: {name} has values that are not finite.")
    return tensor


def _assign(variable: keras.Variable, value: np.ndarray) -> None:
    """Assigns an array in whatever memory order, with as few copies as possible."""
    if keras.backend.backend() == "torch":
        import torch

        # Of a NumPy array Keras would make one more copy.
        variable.assign(torch.from_numpy(value))
    else:
        variable.assign(_contiguous(value))


def _contiguous(value: np.ndarray) -> np.ndarray:
    if value.flags.c_contiguous or value.ndim != 2:
        return np.ascontiguousarray(value)
    copy = np.empty(value.shape, value.dtype)
    for start in range(0, value.shape[1], _STRIP):
        strip = slice(start, start + _STRIP)
        copy[:, strip] = value[:, strip]
    return copy
