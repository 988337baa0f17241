"""This package's own weight files, whose weights have no names, and the files of a run."""

import functools
import hashlib
import itertools
import json
import pathlib
from collections import Counter
from collections.abc import Callable

import keras

from keras_deit.core.abstract import build_abstract
from keras_deit.core.errors import InputError, corrupt_as_input_error, first_line
from keras_deit.core.files import file_digest, named, read_json
from keras_deit.core.keras_internals import left_out_weights_are_errors
from keras_deit.layers.initializers import skip_init
from keras_deit.layers.positions import Grid
from keras_deit.layers.settings import lora_parts
from keras_deit.models import Classifier, build_model
from keras_deit.models.constructor import constructor_values
from keras_deit.models.records import check_record, differing_values, written_model
from keras_deit.pretrained.weights_file import Kind, open_weights

OWN_SUFFIX = ".weights.h5"
# The weight files of a run, which `keras_deit.training` writes.
RUN_WEIGHTS = {
    "final": f"final{OWN_SUFFIX}",
    "best": f"best{OWN_SUFFIX}",
    "ema": f"ema{OWN_SUFFIX}",
}
# The models from features to embeddings, if the objective has an embedder; see `Objective`.
RUN_EMBEDDERS = {"final": "final.embedder.keras", "best": "best.embedder.keras"}
# Of the files above those that no checkpoint has the weights of.
RUN_BEST = (RUN_WEIGHTS["best"], RUN_EMBEDDERS["best"])
# All files of a run that hold weights.
WEIGHT_FILES = (*RUN_WEIGHTS.values(), *RUN_EMBEDDERS.values())

SUMMARY = "summary.json"
# What else the summary has digests of.
_CONFIG = "config.json"
_CHECKED_FILES = (_CONFIG, "metrics.csv")
# The values of a configuration that figures depend on. The others say where data and teacher are,
# which may be changed when they are moved.
_CHECKED_VALUES = (
    *("model", "image_mean", "image_std", "class_names", "crop_ratio", "interpolation"),
    "teacher_contract",
)


def run_model(folder: pathlib.Path) -> dict | None:
    """Returns the name and the values of the model of a run; None if a folder is not of a run."""
    try:
        config = read_json(folder / _CONFIG, str(folder))
    except InputError:
        return None
    values = config.get("model")
    return values if "run" in config and isinstance(values, dict) and "name" in values else None


def file_digests(folder: pathlib.Path) -> dict[str, str]:
    """Returns the digests of the files that a run consists of, by name, for its summary."""
    names = (*_CHECKED_FILES, *WEIGHT_FILES)
    return {name: _digest(folder / name) for name in names if (folder / name).is_file()}


def _digest(path: pathlib.Path) -> str:
    if path.name != _CONFIG:
        return file_digest(path)
    values = read_json(path, str(path.parent))
    checked = json.dumps([values.get(name) for name in _CHECKED_VALUES], sort_keys=True)
    return hashlib.sha256(checked.encode()).hexdigest()


def check_run_file(path: pathlib.Path) -> None:
    """Checks a file of a finished run against the digest in the summary beside it.

    Other files, and those of runs whose summary has no digests, pass.

    Raises:
        InputError: it is not the file that the run has written, or the summary is corrupt.
    """
    held = stored_digests(path.parent).get(path.name)
    if held is None or held == _digest(path):
        return
    remedy = _remedy(path.parent) if path.name in WEIGHT_FILES else ""
    raise InputError(
        f"{path} is damaged or was changed: its SHA-256 is not the one in {SUMMARY}. {remedy}If it "
        f"is as you want it, remove its line from {SUMMARY}."
    )


def stored_digests(folder: pathlib.Path) -> dict[str, str]:
    """Returns the digests in the summary of a run by the names of the files; empty if it has none.

    Raises:
        InputError: the summary is corrupt.
    """
    summary = folder / SUMMARY
    if not summary.is_file() or not (folder / _CONFIG).is_file():
        return {}
    complaint = f"{folder} has a corrupt summary"
    digests = read_json(summary, complaint).get("digests", {})
    if not isinstance(digests, dict):
        raise InputError(f"{complaint}: its digests are not a JSON object.")
    return digests


def gone_file(folder: pathlib.Path, name: str) -> InputError:
    """Returns the error for a file of weights or an embedder of a finished run that is gone."""
    return InputError(f"{folder} is finished, but its {name} is gone. {_remedy(folder).rstrip()}")


def missing_weights(folder: pathlib.Path, weights: str) -> InputError:
    """Returns the error for weights that a run does not have.

    Args:
        folder: directory of the run.
        weights: one of `RUN_WEIGHTS`.
    """
    name = RUN_WEIGHTS[weights]
    finished = (folder / SUMMARY).is_file()
    if finished and (weights == "final" or name in stored_digests(folder)):
        return gone_file(folder, name)
    if finished or (folder / RUN_WEIGHTS["final"]).is_file():
        return InputError(f"{folder} has no weights {weights!r}: there is no {name}.")
    return InputError(
        f"{folder} is not finished: it has no {RUN_WEIGHTS['final']}. The command that started it "
        "resumes it."
    )


def _remedy(folder: pathlib.Path) -> str:
    """Returns a sentence that says how weights of a finished run come back, or what remains."""
    if any((folder / "checkpoints").glob("epoch-*")):
        return (
            "The command that started the run writes the files of final and averaged weights "
            "again, from its last checkpoint. "
        )
    left = ", ".join(name for name in RUN_WEIGHTS.values() if (folder / name).is_file())
    return f"There is no checkpoint to write it again from; of the weights there are: {left}. "


def record_of(path: pathlib.Path) -> dict | None:
    """Returns what is known of the model that wrote a `.weights.h5` file, see `model_record`.

    The file says it itself, or the configuration of the run that it is in; otherwise it is None.
    """
    try:
        with open_weights(path) as file:
            record = file.record
    except Exception:  # `load_own_weights` explains what is wrong
        return None
    if record is None and (values := run_model(path.parent)):
        known = {name: value for name, value in values.items() if name not in ("name", "dtype")}
        record = {"config": known}
    return record


def load_own_weights(model: Classifier, path: pathlib.Path) -> None:
    """Loads a `.weights.h5` file that a model of the same sizes wrote.

    Raises:
        InputError: it is no such file, it is damaged as far as it or the summary of its run tells,
            or it does not fit the model, which is then unchanged.
    """
    check_run_file(path)
    before = [keras.ops.convert_to_numpy(weight.value) for weight in model.weights]
    try:
        with open_weights(path) as file:
            _check_kinds(model, file.kinds)
            check_record(model, file.record, str(path))
            file.check_values()
        with left_out_weights_are_errors(), named(path, f"model{OWN_SUFFIX}") as link:
            model.load_weights(link)
    except Exception as error:  # h5py and Keras raise anything for a corrupt file
        reason = first_line(error)
        # Keras assigns layer by layer, and may have assigned some.
        for weight, value in zip(model.weights, before, strict=True):
            weight.assign(value)
        raise InputError(f"{path} does not fit {model.name}: {reason}") from error


def _check_kinds(model: keras.Model, kinds: list[Kind]) -> None:
    """Compares all shapes, because Keras ignores what a file holds beyond the model's layers, such
    as more blocks, and whether they are of floats, because Keras casts."""
    # Keras merges LoRA into the kernel when it saves.
    factors = {id(factor) for part in lora_parts(model) for factor in (part.first, part.second)}
    weights = [weight for weight in model.weights if id(weight) not in factors]
    if len(kinds) != len(weights):
        raise ValueError(f"it holds {len(kinds)} weights, the model has {len(weights)}.")
    held, wanted = Counter(kinds), Counter(map(_kind, weights))
    if held == wanted:
        return
    if Counter(kind.shape for kind in kinds) == Counter(kind.shape for kind in map(_kind, weights)):
        count = sum((held - wanted).values())
        raise ValueError(f"{count} of its weights are not of the model's dtypes, mostly floats.")
    pairs = (sorted(held - wanted), sorted(wanted - held))
    received, expected = (", ".join(str(kind.shape) for kind in pair) for pair in pairs)
    raise ValueError(f"it holds shapes {received} where the model has {expected}.")


def _kind(weight: keras.Variable) -> Kind:
    return Kind(tuple(weight.shape), "float" in str(weight.dtype))


def model_of_weights(model: Classifier, path: pathlib.Path) -> Classifier | None:
    """Returns the model that wrote a `.weights.h5` file, with its weights.

    It is the one that the file says, or the run whose directory it is in, or else `model` with
    other numbers of classes and another image size.

    Returns:
        None if there is no such model, or `model` itself is like the one that wrote the file.

    Raises:
        InputError: the file is damaged, or does not hold what it says.
    """
    record = record_of(path)
    if record is not None:
        with corrupt_as_input_error(f"{path} says of its model what cannot be"):
            if not differing_values(model, record):
                return None
        values = run_model(path.parent)
        build = functools.partial(build_model, **values) if values else None
        written = _built_for(path, build or functools.partial(written_model, model, record))
        load_own_weights(written, path)
        return written
    try:
        with open_weights(path) as file:
            held = Counter(kind.shape for kind in file.kinds)
    except Exception:  # `load_own_weights` explains what is wrong
        return None
    if held == Counter(tuple(weight.shape) for weight in model.weights):
        return None
    with skip_init():
        written = _resized(model, held)
    if written is not None:
        load_own_weights(written, path)
    return written


def check_sizes(values: dict, path: pathlib.Path) -> None:
    """Checks that a model has the sizes of a `.weights.h5` file, before it gets any memory.

    Args:
        values: arguments of `build_model`, from the configuration of a run.
        path: path of the file.

    Raises:
        InputError: it does not, or the values cannot be those of a model.
    """
    _built_for(path, functools.partial(build_model, **values), only_check=True)


def _built_for(
    path: pathlib.Path, build: Callable[[], Classifier], only_check: bool = False
) -> Classifier | None:
    """Returns the model that a configuration describes, if it has the sizes of a file."""
    with corrupt_as_input_error(f"{path} and the configuration of its model do not fit together"):
        with open_weights(path) as file:
            kinds = file.kinds
        depths = {k: v for k, v in getattr(build, "keywords", {}).items() if "depth" in k}
        # Every block has weights, and even without memory a block takes milliseconds. A model of
        # stages has a number of blocks for each.
        blocks = (sum(d) if isinstance(d, (tuple, list)) else d for d in depths.values())
        if any(count > len(kinds) for count in blocks):
            raise ValueError(f"it holds {len(kinds)} weights, the model should have {depths}")
        _check_kinds(build_abstract(build), kinds)
        if only_check:
            return None
        with skip_init():
            return build()


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
