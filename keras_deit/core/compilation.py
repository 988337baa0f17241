"""What a user gives to `compile` and `fit` of a model that returns logits."""

import contextvars
import inspect
import warnings
from collections.abc import Callable

import keras

from keras_deit.core.errors import InputError

# Losses and metrics that take probabilities, or numbers above 0, and cannot take logits.
_OF_PROBABILITIES = {
    *("kl_divergence", "dice", "tversky", "categorical_generalized_cross_entropy", "poisson"),
    *("KLDivergence", "Dice", "Tversky", "CategoricalGeneralizedCrossEntropy", "Poisson"),
    *("PrecisionAtRecall", "RecallAtPrecision"),
    *("SensitivityAtSpecificity", "SpecificityAtSensitivity"),
}
# Names for which Keras chooses by the shapes of labels and outputs; all take the same arguments.
_BY_NAME = dict.fromkeys(("crossentropy", "ce"), keras.losses.sparse_categorical_crossentropy)


def given_arguments(method: Callable, args: tuple, kwargs: dict) -> dict:
    """Returns the arguments of a call of a method by name, without `self` and the defaults."""
    arguments = dict(inspect.signature(method).bind_partial(None, *args, **kwargs).arguments)
    arguments.pop("self")
    others = arguments.pop("kwargs", {})
    return {**arguments, **others}


# Whether what takes probabilities is only warned of.
_only_warns = contextvars.ContextVar("only_warns", default=False)


def compile_as_saved(model: keras.Model, config: dict) -> None:
    """Compiles a model that is loaded from a file, and creates the variables of its optimizer.

    An older file still opens, although its loss or metrics are refused by `check_takes_logits` now:
    that is a warning.

    Args:
        model: whose `compile` calls `check_takes_logits`.
        config: as for `keras.Model.compile_from_config`.
    """
    token = _only_warns.set(True)
    try:
        model.compile(**keras.saving.deserialize_keras_object(config))
    finally:
        _only_warns.reset(token)
    if model.built:
        model.optimizer.build(model.trainable_variables)


def check_takes_logits(model_name: str, **given) -> None:
    """Checks that losses and metrics do not take the logits of a model for probabilities.

    Keras's cross-entropies do so by default, without an error, and their result is wrong: 7.30 in
    place of 2.30 for ten logits near 0.

    Args:
        model_name: name of the model, for the error.
        **given: `loss`, `metrics` and `weighted_metrics` as for `compile`, also None.

    Raises:
        InputError: one of them takes probabilities.
    """
    for argument, value in given.items():
        module = "losses" if argument == "loss" else "metrics"
        for item in keras.tree.flatten(value):
            if not (fault := _fault(item, module)):
                continue
            line = f"{model_name} returns logits, {fault.format(argument)}"
            if not _only_warns.get():
                raise InputError(line)
            warnings.warn(f"{line} The file that is loaded was compiled so.", stacklevel=4)


def _fault(item, module: str) -> str | None:
    """Returns what is wrong with a loss or metric of logits, as the end of a sentence in which
    {} stands for the argument of `compile`."""
    kind = _BY_NAME.get(item, item) if isinstance(item, str) else item
    if isinstance(kind, (str, type)):
        try:
            kind = getattr(keras, module).get(kind)
        except (TypeError, ValueError):  # Keras has an error for it, or knows it later.
            return None
    name, values = getattr(kind, "__name__", type(kind).__name__), _arguments(kind)
    if name in _OF_PROBABILITIES:
        return f"and {{}} {name} takes probabilities."
    instead = _threshold(values)
    if values.get("from_logits", True) is False:
        instead = "from_logits=True"
    return instead and (
        f"which {{}} {name} would take for probabilities: give keras.{module}."
        f"{_class_name(name)}({instead})."
    )


def _class_name(name: str) -> str:
    return name if name[0].isupper() else name.title().replace("_", "")


def _arguments(kind) -> dict:
    """Returns the arguments of a loss or metric by name, or the defaults of a function."""
    if hasattr(kind, "get_config"):
        config = kind.get_config()
        function = config.get("fn")  # Of a metric or loss that wraps a function.
        return {**(_arguments(function) if callable(function) else {}), **config}
    try:
        parameters = inspect.signature(kind).parameters.values() if callable(kind) else ()
    except ValueError:  # A function of C has no signature.
        return {}
    return {parameter.name: parameter.default for parameter in parameters}


def _threshold(values: dict) -> str | None:
    """Returns what to give to a metric that compares probabilities with 0.5, None for another."""
    # Without the first one a metric takes the largest output, without the second one 0.5.
    if values.get("threshold") == 0.5:
        return "threshold=0"
    of_probabilities = values.get("thresholds", ()) in (None, 0.5, [0.5])
    return "thresholds=0" if of_probabilities and not values.get("top_k") else None
