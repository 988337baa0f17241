"""Which model weights are of, as far as their source says it without the weights being read."""

import dataclasses
import json
import pathlib
import re
import zipfile

from keras_deit.core.errors import InputError, corrupt_as_input_error
from keras_deit.core.files import read_json
from keras_deit.models import get_spec, list_models, model_values
from keras_deit.models.registry import registered_families
from keras_deit.pretrained import hub
from keras_deit.pretrained.formats import KERAS_MODEL, OWN_WEIGHTS, file_format, open_tensors
from keras_deit.pretrained.own_weights import record_of, run_model
from keras_deit.pretrained.sources import find_weights

# What does not belong to the weights: it follows from the data or is a choice of the training.
_NOT_OF_WEIGHTS = ("name", "trainable", "dtype", "normalization", "num_classes", "layer_settings")
# Stands in the names of AugReg's weights.
_AUGREG = ".augreg"
# What a configuration of timm and transformers calls a model.
_NAMES = ("architecture", "_name_or_path")


@dataclasses.dataclass(frozen=True)
class SourceModel:
    """The model that weights are of.

    Attributes:
        name: one of `list_models()`.
        values: its values that are not the published ones, without number of classes and those that
            matter in training only.
    """

    name: str
    values: dict

    def values_for(self, name: str) -> dict:
        """Returns the values that a model of another name needs for these weights.

        They are none for another family, and none that the two names stand for differently.
        """
        if get_spec(name).family is not get_spec(self.name).family:
            return {}
        own, other = model_values(self.name), model_values(name)
        return {key: value for key, value in self.values.items() if own[key] == other[key]}


def source_model(source: str | pathlib.Path) -> SourceModel | None:
    """Returns the model that weights are of; None if their source does not say it.

    A run, a file of its own and a file that this package has written say all values of their model;
    a repository of the hub, which is not asked, and a file of others say it by their names or by
    the configuration beside them.

    Args:
        source: as for `find_weights`.

    Raises:
        InputError: there is no such file, or it is none of weights.
    """
    text = str(source)
    if text.startswith(hub.PREFIX):
        return _named(text.partition("#")[0])
    found = find_weights(source)
    held = file_format(found.path, found.name)
    if held == OWN_WEIGHTS and (values := run_model(found.path.parent)):
        return _described(values["name"], values)
    with corrupt_as_input_error(f"{found.path} is corrupt"):
        record = _record(found.path, held)
    if record is not None and (known := _of_record(record)):
        return known
    folder = found.path.parent
    for config in hub.CONFIGS:
        try:
            values = read_json(folder / config, config)
        except InputError:
            continue
        known = [_named(values[key]) for key in _NAMES if isinstance(values.get(key), str)]
        if any(known):
            return next(filter(None, known))
    return _named(found.path.name) or _named(folder.resolve().name)


def _record(path: pathlib.Path, held: str) -> dict | None:
    """Returns class and configuration of the model that wrote a file of this package."""
    if held == OWN_WEIGHTS:
        return record_of(path)
    if held == "safetensors":
        return open_tensors(path, str(path)).record
    if held == KERAS_MODEL:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
        return {"class": config.get("class_name"), "config": config.get("config")}
    return None


def _of_record(record: dict) -> SourceModel | None:
    families = {family.__name__: family for family in registered_families()}
    family, config = families.get(record.get("class")), record.get("config")
    if family is None or not isinstance(config, dict):
        return None
    names = [name for name in list_models() if get_spec(name).family is family]
    if config.get("name") in names:
        return _described(config["name"], config)
    known = [_described(name, config) for name in names]
    return min(known, key=lambda model: len(model.values), default=None)


def _described(name: str, config: dict) -> SourceModel | None:
    """Returns the model of a name with the values of a configuration."""
    if name not in list_models():
        return None
    published, patterns = model_values(name), get_spec(name).family.training_values
    values = {
        key: value
        for key, value in config.items()
        if key in published
        and key not in _NOT_OF_WEIGHTS
        and not any(re.fullmatch(pattern, key) for pattern in patterns)
        and _plain(value) != _plain(published[key])
    }
    return SourceModel(name, values)


def _plain(value):
    """Returns a value as it comes back from a JSON file; a side stands for a square."""
    value = json.loads(json.dumps(value, default=lambda part: getattr(part, "__name__", str(part))))
    is_square = isinstance(value, list) and len(value) == 2 and value[0] == value[1]
    return value[0] if is_square else value


def _named(text: str) -> SourceModel | None:
    """Returns the model that a file or a repository is named after, with its published values."""
    files = {file: name for name in list_models() for file in get_spec(name).files}
    if text in files:
        return SourceModel(files[text], {})
    words = text.rsplit("/", 1)[-1].lower().replace("-", "_")
    found = [
        name
        for name in list_models()
        if re.search(rf"(?<![a-z0-9]){re.escape(name.lower())}(?![a-z0-9])", words)
    ]
    return SourceModel(max(found, key=len), {}) if found else None


def normalization_of_name(name: str) -> tuple | None:
    """Returns mean and std of the images of published weights by the name of their file.

    It is None for other files: those of DINO and of MAE are named after the same models, and are
    for images with another normalization.

    Args:
        name: name of the file, as the authors or timm publish it.
    """
    known = _named(name)
    if known is None:
        return None
    spec = get_spec(known.name)
    is_published = name in spec.files or _AUGREG in name.lower()
    return (spec.mean, spec.std) if is_published else None
