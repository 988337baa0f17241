"""Models by name."""

import fnmatch
import inspect

import keras

from keras_deit.errors import unknown_name
from keras_deit.models.cait_specs import CAIT_MODELS
from keras_deit.models.classifier import Classifier
from keras_deit.models.deit3_specs import DEIT3_MODELS
from keras_deit.models.deit_specs import DEIT_MODELS
from keras_deit.models.listing import markdown_table
from keras_deit.models.model_spec import ModelSpec
from keras_deit.models.outline import outlined
from keras_deit.models.patchconvnet_specs import PATCHCONVNET_MODELS
from keras_deit.models.precision import precision
from keras_deit.models.resmlp_specs import RESMLP_MODELS

_FAMILIES = (DEIT_MODELS, DEIT3_MODELS, CAIT_MODELS, RESMLP_MODELS, PATCHCONVNET_MODELS)
_SPECS = {spec.name: spec for family in _FAMILIES for spec in family}


def list_models(
    pattern: str = "*",
    *,
    image_size: int | None = None,
    max_parameters: float | None = None,
    released: bool | None = None,
    show: bool = False,
) -> list[str]:
    """The names that `create_model` knows, sorted.

    Args:
        pattern: a shell pattern, such as "deit*distilled*".
        image_size: only models evaluated at this size, in pixels.
        max_parameters: only models with no more parameters, such as 30e6.
        released: True for models whose weights were released, False for the others.
        show: whether to print the table of these models too: size, parameters, multiply-adds,
            evaluation, top-1 by training, weight files.
    """
    names = [
        spec.name
        for spec in _SPECS.values()
        if fnmatch.fnmatchcase(spec.name, pattern)
        and image_size in (None, spec.image_size)
        and (max_parameters is None or spec.parameters <= max_parameters)
        and released in (None, bool(spec.files))
    ]
    if show:
        print(model_table(names))
    return sorted(names)


def model_table(names: list[str]) -> str:
    """The table of some models as Markdown, by family and size.

    Raises:
        InputError: no model has one of these names.
    """
    wanted = {get_spec(name).name for name in names}
    return markdown_table(spec for spec in _SPECS.values() if spec.name in wanted)


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


def build_model(
    name: str, num_classes: int = 1000, dtype: str | None = None, **overrides
) -> Classifier:
    """A model with fresh weights; the arguments and errors are those of `create_model`."""
    spec = get_spec(name)
    known = model_values(name)
    for key in overrides:
        if key not in known:
            raise unknown_name(f"value of {name}", key, known)
    values = {"name": name, **spec.config, "num_classes": num_classes, **overrides}
    with precision(dtype or keras.config.dtype_policy()):
        return spec.architecture(**values)


def outline_model(name: str, **values) -> Classifier:
    """A model whose variables have shapes and no memory: to count and to compare, not to run.

    The arguments and errors are those of `build_model`.
    """
    return outlined(lambda: build_model(name, **values))
