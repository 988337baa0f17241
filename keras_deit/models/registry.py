"""Model families and models by name."""

import fnmatch
from collections.abc import Iterable

import keras

from keras_deit.core.abstract import build_abstract
from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.image_format import IMAGENET_MEAN, IMAGENET_STD, NORMALIZATIONS
from keras_deit.core.precision import precision
from keras_deit.core.registry import Registry
from keras_deit.models.classifier import Classifier
from keras_deit.models.constructor import constructor_values
from keras_deit.models.spec import ModelSpec, Result

FAMILIES: Registry[type[Classifier]] = Registry("model family")
SPECS: Registry[ModelSpec] = Registry("model")


def register_family(cls: type[Classifier]) -> type[Classifier]:
    """Class decorator that makes a subclass of `Classifier` known as a model family.

    Its models can be saved to and loaded from `.keras` files, and files with the names of its
    `weight_tables` are recognized. `register_model` gives its configurations their names.

    Raises:
        InputError: the class is not a `Classifier`, or has the name of a family of the package.
    """
    if not issubclass(cls, Classifier):
        raise InputError(f"A model family should be a keras_deit.Classifier. Received: {cls}")
    package = "keras_deit" if cls.__module__.startswith("keras_deit.") else cls.__module__
    FAMILIES.add(cls.__name__, cls)
    return keras.saving.register_keras_serializable(package=package)(cls)


def registered_families() -> list[type[Classifier]]:
    """Returns the model families, in the order of their registration."""
    return FAMILIES.values()


def register_model(
    name: str,
    family: type[Classifier],
    *,
    parameters: int | None = None,
    gmacs: float | None = None,
    published_gmacs: float | None = None,
    gops: float | None = None,
    published_gops: float | None = None,
    results: tuple[Result, ...] = (),
    crop_ratio: float = 0.875,
    interpolation: str = "bicubic",
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
    source: str = "",
    **config,
) -> ModelSpec:
    """Registers a configuration of a model family under a name.

    Args:
        name: for `create_model` and the commands.
        family: the class that builds it.
        parameters, gmacs, published_gmacs, gops, published_gops, results, crop_ratio,
            interpolation, source: what is known about it, see `ModelSpec`.
        mean, std: normalization of the images, which a model built by this name has as its
            `image_format`.
        **config: constructor arguments of `family` that differ from its defaults.

    Raises:
        InputError: the name is that of a model of the package, or `family` has no such argument.
    """
    known = constructor_values(family)
    for key in config:
        if key not in known:
            raise unknown_name(f"argument of {family.__name__}", key, known)
    spec = ModelSpec(
        name=name,
        family=family,
        config=config,
        parameters=parameters,
        gmacs=gmacs,
        published_gmacs=published_gmacs,
        gops=gops,
        published_gops=published_gops,
        results=results,
        crop_ratio=crop_ratio,
        interpolation=interpolation,
        mean=mean,
        std=std,
        source=source,
    )
    SPECS.add(name, spec)
    return spec


def list_models(
    pattern: str = "*",
    *,
    image_size: int | None = None,
    max_parameters: float | None = None,
    pretrained: bool | None = None,
    show: bool = False,
) -> list[str]:
    """Returns the names that `create_model` knows, sorted.

    Args:
        pattern: a shell pattern, such as "deit*distilled*".
        image_size: only models evaluated at this size, in pixels.
        max_parameters: only models with no more parameters, such as 30e6.
        pretrained: True for models whose weights were released, False for the others.
        show: whether to print the table of these models too: size, parameters, multiply-adds,
            evaluation, top-1 by training, weight files.
    """
    names = [
        spec.name
        for spec in SPECS.values()
        if fnmatch.fnmatchcase(spec.name, pattern)
        and image_size in (None, spec.image_size)
        and (max_parameters is None or (spec.parameters or 0) <= max_parameters)
        and pretrained in (None, bool(spec.files))
    ]
    if show:
        print(model_table(names))
    return sorted(names)


def get_spec(name: str) -> ModelSpec:
    """Returns the configuration of a model and what is published about it.

    Raises:
        InputError: no model has this name; close names are listed.
    """
    return SPECS[name]


def model_values(name: str) -> dict:
    """Returns every value of a model that can be overridden, with its published value."""
    spec = get_spec(name)
    return {**constructor_values(spec.family), **spec.config}


def build_model(
    name: str,
    num_classes: int | None = None,
    dtype: str | None = None,
    normalization: str | None = None,
    **overrides,
) -> Classifier:
    """Builds a model with new weights; the arguments and errors are those of `create_model`."""
    spec = get_spec(name)
    known = model_values(name)
    for key in overrides:
        if key not in known:
            raise unknown_name(f"value of {name}", key, known)
    if num_classes is not None and "num_classes" in known:
        overrides["num_classes"] = num_classes
    values = {"name": name, **spec.config, **overrides}
    with precision(dtype or keras.config.dtype_policy()):
        model = spec.family(**values)
    mean_and_std = (spec.mean, spec.std)
    if normalization is not None:
        if normalization not in NORMALIZATIONS:
            raise unknown_name("normalization", normalization, NORMALIZATIONS)
        mean_and_std = NORMALIZATIONS[normalization]
    if mean_and_std != NORMALIZATIONS["imagenet"]:
        model.set_normalization(*mean_and_std)
    if num_classes not in (None, model.num_classes):
        raise InputError(
            f"{name} has {model.num_classes} classes, because {spec.family.__name__} has no "
            f"argument num_classes. Received: num_classes={num_classes}"
        )
    return model


def abstract_model(name: str, **values) -> Classifier:
    """Builds a model whose variables have shapes but no memory: to count and compare, not to run.

    The arguments and errors are those of `build_model`.
    """
    return build_abstract(lambda: build_model(name, **values))


_COLUMNS = ("model", "image size", "parameters", "GMACs", "crop", "top-1", "released weights")


def model_table(names: Iterable[str]) -> str:
    """Returns the table of some models as Markdown, with aligned columns.

    Top-1 is on ImageNet-1k, followed by the training in parentheses. Weight files are in the order
    of the trainings; if several publishers have the same weights, the first is listed.

    Raises:
        InputError: no model has one of these names.
    """
    wanted = {get_spec(name).name for name in names}
    rows = [_COLUMNS, *(_row(spec) for spec in SPECS.values() if spec.name in wanted)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = tuple("-" * width for width in widths)
    return "\n".join(_line(row, widths) for row in (rows[0], rule, *rows[1:]))


def _row(spec: ModelSpec) -> tuple[str, ...]:
    return (
        f"`{spec.name}`",
        str(spec.image_size or ""),
        f"{spec.parameters:,}" if spec.parameters else "",
        _operations(spec),
        f"{spec.crop_ratio:g}",
        ", ".join(f"{result.top1:.1f} ({result.training})" for result in spec.results),
        ", ".join(f"`{result.files[0]}`" for result in spec.results if result.files),
    )


def _operations(spec: ModelSpec) -> str:
    macs = f"{spec.gmacs:.4g}" if spec.gmacs else ""
    return f"{macs} ({spec.gops:.4g} GOPs)" if spec.gops else macs


def _line(cells: Iterable[str], widths: list[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"
