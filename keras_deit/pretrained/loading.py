"""Loading weights of any source into a model."""

import dataclasses
import logging
import math
import pathlib

import keras
import numpy as np

from keras_deit.core.errors import InputError, corrupt_as_input_error
from keras_deit.layers.initializers import dense_kernel
from keras_deit.layers.positions import resize_positions
from keras_deit.models import Classifier
from keras_deit.models.records import check_record
from keras_deit.pretrained.formats import OWN_WEIGHTS, file_format, open_tensors
from keras_deit.pretrained.matching import Load, match
from keras_deit.pretrained.model_tensors import ModelTensors
from keras_deit.pretrained.own_weights import (
    load_own_weights,
    model_of_weights,
    record_of,
    run_model,
)
from keras_deit.pretrained.source_models import normalization_of_name
from keras_deit.pretrained.sources import Source, find_weights, normalization_beside
from keras_deit.pretrained.tensor_file import TensorFile

_logger = logging.getLogger("keras_deit")

# A transposed array is copied in strips of columns that stay in the cache. That is two to four
# times as fast as all at once, and faster than transposing in TensorFlow or JAX on two cores.
_STRIP = 32
# Files for another number of channels than the model's are for color images.
_COLORS = 3


def load_pretrained(model: Classifier, source: str | pathlib.Path) -> None:
    """Loads weights into a model: all of them or none.

    Every tensor of the file and every weight of the model must be accounted for, and each of these
    exceptions is a line for the user. If the file has another number of classes or no head, the
    heads (and the class tokens, if each class has one) keep their weights. If it is for color
    images and the model for others, the kernel of the first convolution is summed or repeated over
    channels, as in timm. If it has no
    distillation token, that of the model, its row of the positions and its head keep theirs. What
    only a pretraining without labels needs, such as a decoder, is left out. If the model was built
    for another image size, the positions are resized as the authors do: bicubically, or bilinearly
    with aligned corners if the file is of the authors of ViT (npz with names of Flax).

    Args:
        model: model of this package.
        source: the path of a file under any name (safetensors; what `torch.save` wrote, such as a
            state dict or a checkpoint; an index of shards; npz; `.weights.h5` or `.keras` of this
            package), of the directory of a run, or of a folder as Hugging Face has it; or
            `hf://OWNER/NAME`, such as `hf://timm/deit_tiny_patch16_224.fb_in1k`. `#ema` after it
            takes the average of a checkpoint or a run, `#teacher`, `#best` and other words
            accordingly; `#without_distillation` lets a plain model take a distilled file. Names of
            tensors may be those of every publisher in the family's `weight_tables`, with whatever
            prefix they share.

    Raises:
        InputError: the file cannot be read, holds another architecture or does not fit; the model
            does not change.
    """
    if not isinstance(model, Classifier):
        raise InputError(
            "Weights can only be loaded into a keras_deit.Classifier. Received: "
            f"{type(model).__name__}"
        )
    found = find_weights(source)
    if file_format(found.path, found.name) == OWN_WEIGHTS:
        _load_own_weights(model, found)
        said = (record_of(found.path) or {}).get("normalization")
        held = normalization_beside(found.path) or said
    else:
        file = open_tensors(found.path, found.name)
        load_tensors(model, file, found)
        held = file.normalization or normalization_beside(found.path)
        held = held or normalization_of_name(found.path.name)
    if held is not None:
        with corrupt_as_input_error(f"{found.name} says a normalization that cannot be"):
            _set_normalization(model, found, *held)


def _set_normalization(model: Classifier, source: Source, mean, std) -> None:
    """Gives a model the normalization of its weights, and says so if it is another."""
    before = model.image_format
    held = dataclasses.replace(before, mean=mean, std=std).with_channels(len(before.mean))
    if np.allclose((held.mean, held.std), (before.mean, before.std)):
        return
    model.set_normalization(mean, std)
    done = "the model now takes them so, see its image_format"
    if model.image_format == before:
        done = "but this model takes others, see its image_format"
    elif run_model(source.path.parent):
        return  # What starts from the files of a run has been told when the run began.
    shown = (", ".join(f"{value:g}" for value in values) for values in (mean, std))
    _logger.warning("%s is for images with mean %s and std %s; %s.", source.name, *shown, done)


def _load_own_weights(model: Classifier, source: Source) -> None:
    """Loads a `.weights.h5` file, by way of a model like the one that wrote it if sizes differ."""
    if source.part:
        raise InputError(
            f"{source.name} names {source.part!r}, but the file has one set of weights."
        )
    written = model_of_weights(model, source.path)
    if written is not None:
        load_tensors(model, ModelTensors(written, source.name), source)
    else:
        load_own_weights(model, source.path)


def load_tensors(model: Classifier, file: TensorFile, source: Source | None = None) -> None:
    """Does what `load_pretrained` does, from an open file."""
    options = (source.part, source.without_distillation) if source else ()
    matched = match(model, file, *options)
    check_record(model, file.record, file.source)
    _check_channels(model, matched.loads, file.source)
    # Everything is read and checked before the first assignment, so a model is never half loaded.
    tensors = {
        name: _finite(matched.file.read(name), name, file)
        for load in matched.loads
        for name in load.entry.names
    }
    for load in matched.loads:
        value = load.entry.value([tensors.pop(name) for name in load.entry.names])
        if load.grid is not None and load.entry.transform.corner_aligned:
            value = resize_positions(value, load.grid, load.table.grid, corner_aligned=True)
        elif load.grid is not None:
            value = load.table.resize(value, load.grid, load.table.grid)
        if load.table is None:
            value = _with_channels(value, load.variable.shape)
        elif value.shape != tuple(load.variable.shape):
            value = _with_own_tokens(value, load.variable, math.prod(load.table.grid))
        _assign(load.variable, value)
    for variable in matched.kept:
        variable.assign(_started(variable))
    for note in matched.notes:
        _logger.warning("%s", note)


def _with_own_tokens(value: np.ndarray, variable: keras.Variable, patches: int) -> np.ndarray:
    """Returns positions of a model with fewer or more tokens before the patches, for a variable.

    The tokens that both have come first.
    """
    own = keras.ops.convert_to_numpy(_started(variable))
    tokens = own.shape[1] - patches
    shared = value[:, : min(tokens, value.shape[1] - patches)]
    return np.concatenate([shared, own[:, shared.shape[1] : tokens], value[:, -patches:]], axis=1)


def _check_channels(model: Classifier, loads: list[Load], source: str) -> None:
    """Checks that what depends on the number of channels is a kernel, which can be adapted."""
    for load in loads:
        own = tuple(load.variable.shape)
        if load.table is None and len(own) == 1 and load.entry.shape != own:
            raise InputError(
                f"{source} is for images of {_COLORS} channels. {model.name} takes others and "
                f"normalizes all channels of a patch together ({load.entry.path}), so its weights "
                "cannot be adapted."
            )


def _with_channels(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the kernel of a convolution of color images for another number of channels.

    As timm does: one channel has their sum; more repeat them, scaled so that the response to
    channels that are all the same does not change.
    """
    if kernel.shape == tuple(shape):
        return kernel
    if kernel.ndim == 2:
        # A dense layer over flattened patches, whose channels follow each other.
        pixels = kernel.reshape(1, -1, _COLORS, kernel.shape[1])
        channels = shape[0] // pixels.shape[1]
        adapted = _with_channels(pixels, (*pixels.shape[:2], channels, kernel.shape[1]))
        return adapted.reshape(shape)
    channels = shape[2]
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    repeated = kernel[:, :, np.arange(channels) % kernel.shape[2]]
    return repeated * np.float32(kernel.shape[2] / channels)


def _started(variable: keras.Variable):
    """Returns the value of a variable, drawn if `skip_init` has left it out."""
    if keras.ops.any(keras.ops.isnan(variable.value)):
        return dense_kernel()(variable.shape, variable.dtype)
    return variable.value


def _finite(tensor: np.ndarray, name: str, file: TensorFile) -> np.ndarray:
    with np.errstate(all="ignore"):
        # Reads the tensor once and writes nothing. The sum of large numbers may overflow.
        is_finite = np.isfinite(np.add.reduce(tensor, axis=None)) or np.isfinite(tensor).all()
    if not is_finite:
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
        # NumPy makes a scalar an array of one number.
        return np.ascontiguousarray(value).reshape(value.shape)
    copy = np.empty(value.shape, value.dtype)
    for start in range(0, value.shape[1], _STRIP):
        strip = slice(start, start + _STRIP)
        copy[:, strip] = value[:, strip]
    return copy
