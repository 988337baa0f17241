"""What a file of weights says of the model that wrote it, and comparing it with another model."""

import json
import re
from collections import Counter

import numpy as np

from keras_deit.core.abstract import build_abstract
from keras_deit.core.errors import InputError
from keras_deit.layers.settings import LAYER_SETTINGS
from keras_deit.models.classifier import Classifier
from keras_deit.models.constructor import constructor_values
from keras_deit.models.registry import registered_families

# What of a configuration does not say which function the weights are of.
_NOT_RECORDED = ("name", "trainable", "dtype", "normalization", LAYER_SETTINGS)
# What weights can be adapted to.
SIZES = ("image_size", "num_classes")


def model_record(model: Classifier) -> dict:
    """Returns the configuration of a model as JSON values, for a file of its weights."""
    config = {k: v for k, v in model.get_config().items() if k not in _NOT_RECORDED}
    image_format = model.image_format
    record = {
        "class": type(model).__name__,
        "config": config,
        "normalization": (image_format.mean, image_format.std),
    }
    return _plain(record)


def differing_values(model: Classifier, record: dict) -> dict[str, tuple]:
    """Returns the constructor arguments that the model of a record had otherwise.

    Those that matter in training only, such as rates of dropping, are left out, and so are those
    that only one of the two classes has, because a model of a subclass takes weights of its base.

    Args:
        model: model that the weights are for.
        record: as `model_record` returns it.

    Returns:
        The value in the record and the model's by the name of the argument.
    """
    held, own = record["config"], model_record(model)["config"]
    families = {family.__name__: family for family in registered_families()}
    # A value that the family of the record has got since then had its default.
    defaults = _plain(constructor_values(families.get(record.get("class"), type(model))))
    pairs = {name: (held.get(name, defaults.get(name)), own[name]) for name in own}
    known = held.keys() | defaults.keys()
    return {
        name: pair
        for name, pair in pairs.items()
        if name in known
        and not any(re.fullmatch(pattern, name) for pattern in model.training_values)
        and _sides(name, pair[0]) != _sides(name, pair[1])
    }


def _plain(values: dict) -> dict:
    """Returns JSON values, with names in place of functions and classes."""
    return json.loads(json.dumps(values, default=_plain_object))


def _plain_object(value):
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if hasattr(value, "get_config"):
        return {"class_name": type(value).__name__, "config": value.get_config()}
    return getattr(value, "__name__", type(value).__name__)


def _sides(name: str, value):
    """Returns a value for comparison: a side stands for a square."""
    return [value, value] if name == "image_size" and isinstance(value, int) else value


def written_model(model: Classifier, record: dict) -> Classifier:
    """Returns a model of the same class with the values of a record."""
    different = {name: held for name, (held, _) in differing_values(model, record).items()}
    return type(model).from_config({**model.get_config(), **different})


def check_record(model: Classifier, record: dict | None, source: str) -> None:
    """Checks that weights whose names and shapes fit a model are of the same function.

    What differs in shapes, such as a distillation token, has been accounted for with them.

    Args:
        model: model that the weights are for.
        record: as `model_record` returns it; None if the file does not say.
        source: the name that the user gave.

    Raises:
        InputError: a value that no shape shows, such as the number of heads, is another.
    """
    if record is None:
        return
    try:
        different = differing_values(model, record)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{source} is corrupt: its record of the model is {error!r}.") from error
    hidden = [name for name in different if name not in SIZES and _hidden(model, name, different)]
    if hidden:
        shown = ", ".join(
            f"its {name} is {different[name][0]!r}, the model's {different[name][1]!r}"
            for name in hidden
        )
        raise InputError(f"{source} does not fit {model.name}, although all shapes do: {shown}.")


def _hidden(model: Classifier, name: str, different: dict[str, tuple]) -> bool:
    """Returns whether an argument could be the record's without another weight or shape."""
    values = {**model.get_config(), name: different[name][0]}
    try:
        other = build_abstract(lambda: type(model).from_config(values))
    except (TypeError, ValueError):  # Not together with the model's other values.
        return True
    shapes = (Counter(tuple(weight.shape) for weight in m.weights) for m in (model, other))
    return next(shapes) == next(shapes)
