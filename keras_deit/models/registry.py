"""Models by name."""

import fnmatch
import inspect
import pathlib
from collections import Counter

import keras

from keras_deit.errors import InputError, unknown_name
from keras_deit.models.classifier import Classifier
from keras_deit.models.deit import DEIT_MODELS
from keras_deit.models.model_spec import ModelSpec

_SPECS = {spec.name: spec for spec in DEIT_MODELS}


def list_models(pattern: str = "*") -> list[str]:
    """The names that `create_model` knows, sorted.

    Args:
        pattern: a shell pattern, such as "deit*distilled*".
    """
    return sorted(fnmatch.filter(_SPECS, pattern))


def get_spec(name: str) -> ModelSpec:
    """The published configuration and figures of a model.

    Raises:
        InputError: no model has this name; the close names are listed.
    """
    if name not in _SPECS:
        raise unknown_name("model", name, _SPECS)
    return _SPECS[name]


def model_values(name: str) -> dict:
    """Every value of a model that can be overridden, with its published value."""
    spec = get_spec(name)
    parameters = inspect.signature(spec.architecture).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {**defaults, **spec.config}


def create_model(
    name: str,
    weights: str | pathlib.Path | None = None,
    num_classes: int = 1000,
    **overrides,
) -> Classifier:
    """Builds a model of this package.

    Args:
        name: one of `list_models()`.
        weights: path of a `.weights.h5` file of this package to load, or None.
        num_classes: of each head.
        **overrides: any constructor argument of the architecture in place of its published
            value: `image_size`, `patch_size`, `embed_dim`, `depth`, `num_heads`, `mlp_ratio`,
            `drop_path_rate`, ...

    Returns:
        A functional Keras model: images (batch, height, width, 3), normalised as its
        `image_format` says, to logits (batch, num_classes).

    Raises:
        InputError: unknown name or value, sizes that do not fit together, weights that cannot
            be read into the model.
    """
    spec = get_spec(name)
    known = model_values(name)
    for key in overrides:
        if key not in known:
            raise unknown_name(f"value of {name}", key, known)
    values = {"name": name, **spec.config, "num_classes": num_classes, **overrides}
    model = spec.architecture(**values)
    if weights is not None:
        _load_weights(model, pathlib.Path(weights))
    return model


def _load_weights(model: keras.Model, path: pathlib.Path) -> None:
    if not path.name.endswith(".weights.h5"):
        raise InputError(f"weights should be the path of a .weights.h5 file, not {str(path)!r}.")
    if not path.is_file():
        raise InputError(f"There is no weights file {str(path)!r}.")
    try:
        _check_shapes(model, path)
        model.load_weights(path)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise InputError(f"{path} does not fit {model.name}: {first_line}") from error


def _check_shapes(model: keras.Model, path: pathlib.Path) -> None:
    """Keras says nothing of what a file holds beyond the model's layers, such as more blocks."""
    import h5py  # Keras's own dependency

    shapes = []

    def collect(name, item):
        if name.startswith("layers/") and isinstance(item, h5py.Dataset):
            shapes.append(item.shape)

    with h5py.File(path) as file:
        file.visititems(collect)
    if len(shapes) != len(model.weights):
        raise ValueError(f"it holds {len(shapes)} weights, the model has {len(model.weights)}.")
    held, wanted = Counter(shapes), Counter(tuple(weight.shape) for weight in model.weights)
    if held != wanted:
        pairs = (sorted(held - wanted), sorted(wanted - held))
        received, expected = (", ".join(map(str, pair)) for pair in pairs)
        raise ValueError(f"it holds shapes {received} where the model has {expected}.")
