"""What a user gives to `compile` and `fit` of a model that returns logits."""

import inspect
from collections.abc import Callable

import keras

from keras_deit.core.errors import InputError

# Losses that take probabilities and cannot take logits.
_OF_PROBABILITIES = {
    *("kl_divergence", "dice", "tversky", "categorical_generalized_cross_entropy"),
    *("KLDivergence", "Dice", "Tversky", "CategoricalGeneralizedCrossEntropy"),
}
# Names for which Keras chooses by the shapes of labels and outputs; all take the same arguments.
_BY_NAME = dict.fromkeys(("crossentropy", "ce"), keras.losses.sparse_categorical_crossentropy)


def given_arguments(method: Callable, args: tuple, kwargs: dict) -> dict:
    """Returns the arguments of a call of a method by name, without `self` and the defaults."""
    arguments = dict(inspect.signature(method).bind_partial(None, *args, **kwargs).arguments)
    arguments.pop("self")
    others = arguments.pop("kwargs", {})
    return {**arguments, **others}


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
        get = keras.losses.get if argument == "loss" else keras.metrics.get
        for item in keras.tree.flatten(value):
            kind = _BY_NAME.get(item, item) if isinstance(item, str) else item
            if isinstance(kind, str):
                try:
                    kind = get(kind)
                except ValueError:  # Keras itself has an error for it, or knows it later.
                    continue
            name = getattr(kind, "__name__", type(kind).__name__)
            if name in _OF_PROBABILITIES:
                raise InputError(
                    f"{model_name} returns logits, and {argument} {name} takes probabilities."
                )
            if _from_logits(kind) is False:
                raise InputError(
                    f"{model_name} returns logits, which {argument} {name} would take for "
                    f"probabilities: give keras.{get.__module__.split('.')[-2]}."
                    f"{_class_name(name)}(from_logits=True)."
                )


def _class_name(name: str) -> str:
    return name if name[0].isupper() else name.title().replace("_", "")


def _from_logits(kind) -> bool | None:
    """Returns whether a loss or metric takes logits; None if it does not distinguish them."""
    if hasattr(kind, "get_config") and not isinstance(kind, type):
        config = kind.get_config()
        own = config.get("from_logits")
        function = config.get("fn")  # Of a metric or loss that wraps a function.
        return own if own is not None or not callable(function) else _from_logits(function)
    if not callable(kind) or isinstance(kind, type):
        return None
    try:
        parameter = inspect.signature(kind).parameters.get("from_logits")
    except ValueError:  # A function of C has no signature.
        return None
    return parameter and bool(parameter.default)
