"""What objectives ask of the student and of the augmentation."""

import warnings
from typing import TYPE_CHECKING

import keras

from keras_deit.core.errors import InputError
from keras_deit.models.classifier import FUSED_LOGITS

if TYPE_CHECKING:
    # Importing it for real would import OpenCV.
    from keras_deit.data import Augmentation

_MIXING = ("mixup_alpha", "cutmix_alpha")


def check_unmixed(augmentation: "Augmentation", reason: str) -> None:
    """Checks that images are not mixed.

    Args:
        augmentation: settings of the recipe.
        reason: why they should not, a clause that begins with the name of the objective.

    Raises:
        InputError: they are mixed.
    """
    mixed = [name for name in _MIXING if getattr(augmentation, name)]
    if mixed and augmentation.mix_probability:
        values = ", ".join(f"{name}={getattr(augmentation, name)}" for name in mixed)
        raise InputError(f"{reason}: {' and '.join(_MIXING)} should be 0. Received: {values}")


def pooled_features(model: keras.Model, objective: str) -> keras.Model:
    """Returns the model of the features, one vector for an image.

    Args:
        model: the student.
        objective: name of the objective, for the error.

    Raises:
        InputError: the features of an image are not one vector.
    """
    features = model.feature_model()
    if len(features.output_shape) != 2:
        raise InputError(
            f"{objective} needs one vector of features for an image. Received: {model.name} with "
            f"features of the shape {features.output_shape}"
        )
    return features


def check_heads(model: keras.Model) -> None:
    """Refuses what `keras.models.clone_model` makes of a model with several heads.

    It is a plain functional model, whose only output is their mean.

    Raises:
        InputError: the model is one.
    """
    last = model.layers[-1] if getattr(model, "layers", None) else None
    is_mean = isinstance(last, keras.layers.Average) and last.name == FUSED_LOGITS
    if is_mean and not hasattr(model, "heads"):
        raise InputError(
            f"{model.name} is a {type(model).__name__} that gives the mean of {len(last.input)} "
            "heads and not each of them, such as a copy by keras.models.clone_model. "
            "type(model).from_config(model.get_config()) copies a model with its heads."
        )


def warn_of_hidden_heads(model: keras.Model) -> None:
    """Warns of a model around one with several heads, which gives their mean alone.

    Distillation then trains that mean on both targets, as it does a model with one head.
    """
    if hasattr(model, "heads"):
        return
    for layer in getattr(model, "layers", ()):
        heads = getattr(layer, "heads", None)
        if isinstance(heads, keras.Model) and len(heads.output) > 1:
            warnings.warn(
                f"{model.name} gives the mean of the heads {', '.join(heads.output)} of "
                f"{layer.name}, so labels and teacher train that mean and not a head each. Let "
                f"{layer.name} itself be the student, and augment the images before it.",
                stacklevel=2,
            )
