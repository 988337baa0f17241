"""This package's own weight files, whose weights have no names, and the files of a run."""

import itertools
import pathlib
from collections import Counter

import keras

from keras_deit.core.errors import InputError, first_line
from keras_deit.core.files import named, read_json
from keras_deit.core.keras_internals import left_out_weights_are_errors, stored_shapes
from keras_deit.layers.initializers import skip_init
from keras_deit.layers.positions import Grid
from keras_deit.layers.settings import lora_parts
from keras_deit.models import Classifier, build_model
from keras_deit.models.classifier import constructor_values

OWN_SUFFIX = ".weights.h5"
# The weight files of a run, which `keras_deit.training` writes.
RUN_WEIGHTS = {
    "final": f"final{OWN_SUFFIX}",
    "best": f"best{OWN_SUFFIX}",
    "ema": f"ema{OWN_SUFFIX}",
}


def run_model(folder: pathlib.Path) -> dict | None:
    """Returns the name and the values of the model of a run; None if a folder is not of a run."""
    try:
        config = read_json(folder / "config.json", str(folder))
    except InputError:
        return None
    values = config.get("model")
    return values if "run" in config and isinstance(values, dict) and "name" in values else None


def load_own_weights(model: keras.Model, path: pathlib.Path) -> None:
    """Loads a `.weights.h5` file that a model of the same sizes wrote.

    Raises:
        InputError: it is no such file, or it does not fit the model, which is then unchanged.
    """
    before = [keras.ops.convert_to_numpy(weight.value) for weight in model.weights]
    try:
        _check_shapes(model, path)
        with left_out_weights_are_errors(), named(path, f"model{OWN_SUFFIX}") as file:
            model.load_weights(file)
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


def model_of_weights(model: Classifier, path: pathlib.Path) -> Classifier | None:
    """Returns the model that wrote a `.weights.h5` file, with its weights.

    It is the one that the run says whose directory the file is in, or else `model` with other
    numbers of classes and another image size.

    Returns:
        None if there is no such model, or `model` itself has the sizes of the file.
    """
    try:
        held = Counter(stored_shapes(path))
    except Exception:  # `load_own_weights` explains what is wrong
        return None
    if held == Counter(tuple(weight.shape) for weight in model.weights):
        return None
    values = run_model(path.parent)
    with skip_init():
        written = build_model(**values) if values else _resized(model, held)
    if written is not None:
        load_own_weights(written, path)
    return written


def _resized(model: Classifier, held: Counter) -> Classifier | None:
    """Returns a model whose weights have these shapes, with another number of classes or a square
    image; None if there is none."""
    own = Counter(tuple(weight.shape) for weight in model.weights)
    others = list(held - own)
    tables = {id(table.variable): table for table in model.position_tables() if table.grid}
    grids = {table.grid for table in tables.values()}
    if len(grids) > 1 or not others:
        return None
    found = {table.square_grid(shape) for table in tables.values() for shape in others}
    classes = [model.num_classes, *sorted({side for shape in others for side in shape})]
    for count, grid in itertools.product(classes, [*grids, *(found - {None})] or [None]):
        if Counter(_shapes(model, count, grid, tables)) == held:
            return _with_sizes(model, count, grid, *grids)
    return None


def _shapes(model: Classifier, num_classes: int, grid: Grid | None, tables: dict) -> list[tuple]:
    """Returns the shapes of the weights for another number of classes and another grid."""
    axes = {id(variable): axis for variable, axis in model.class_axes()}
    shapes = []
    for weight in model.weights:
        shape = list(weight.shape)
        if id(weight) in axes:
            shape[axes[id(weight)]] = num_classes
        elif id(weight) in tables:
            shape = tables[id(weight)].shape(grid)
        shapes.append(tuple(shape))
    return shapes


def _with_sizes(model: Classifier, num_classes: int, grid: Grid | None, own: Grid | None = None):
    sizes = {"num_classes": num_classes}
    if grid != own:
        sides = zip(model.input_shape[1:3], own, grid, strict=True)
        sizes["image_size"] = tuple(side // old * new for side, old, new in sides)
    known = {**constructor_values(type(model)), **model.get_config()}
    return type(model).from_config({**known, **sizes}) if sizes.keys() <= known.keys() else None
