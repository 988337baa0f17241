"""What is exported: a model with its classes, from a run or from weights."""

import dataclasses
import pathlib
from collections.abc import Sequence

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.files import user_path
from keras_deit.evaluation.class_names import default_class_names
from keras_deit.evaluation.predictions import (
    EvaluationView,
    load_classifier,
    untrained_heads,
    view_of_run,
)
from keras_deit.models import Classifier, fold_layer_scale, folds_layer_scale
from keras_deit.pretrained.conversion import change_model
from keras_deit.pretrained.hub import PREFIX
from keras_deit.pretrained.own_weights import RUN_WEIGHTS, run_model
from keras_deit.training import Run, load_run

HEADS = ("fused", "class", "distillation")


@dataclasses.dataclass(frozen=True)
class ExportSource:
    """A model that is exported, with what its answers mean.

    Attributes:
        model: computes in float32, and returns the logits of the head that is exported.
        class_names: the names of its classes.
        view: its evaluation view.
        name: the name to export it under, if the user gives none.
        weights: of a run, "final", "best" or "ema"; else where they come from.
        run: the run that trained it; None for other weights.
        has_names: whether the class names are known; else they are ImageNet's or indices.
    """

    model: Classifier
    class_names: Sequence[str]
    view: EvaluationView
    name: str
    weights: str
    run: Run | None = None
    has_names: bool = False


def load_source(
    run_dir: str | pathlib.Path | None,
    model: str | None,
    weights: str | None,
    image_size: int | tuple[int, int] | None,
    heads: str,
) -> ExportSource:
    """Loads what is exported.

    Args:
        run_dir: the directory of a finished run, or None.
        model: without a run, the name of the model.
        weights: of a run "final" (also None), "best" or "ema"; else a file, `hf://OWNER/NAME` or
            the directory of a run, and None for the released weights.
        image_size: a side or (height, width), to which positions are resized; None for the model's.
        heads: one of `HEADS`.

    Raises:
        InputError: it cannot be loaded or resized, has no such head, or takes no color images.
    """
    if run_dir is not None:
        source = _of_run(load_run(run_dir), weights or "final")
    else:
        source = _of_weights(model, weights)
    classifier = _in_float32(change_model(source.model, image_size=image_size))
    if not classifier.num_classes:
        raise InputError(f"{classifier.name} has no heads, so there are no classes to answer with.")
    if classifier.input_shape[-1] != 3:
        raise InputError(f"{classifier.name} does not take color images.")
    if folds_layer_scale(classifier):
        classifier = fold_layer_scale(classifier)
    return dataclasses.replace(source, model=_with_head(classifier, heads))


def _of_run(run: Run, weights: str) -> ExportSource:
    if why_no_labels := untrained_heads(run):
        raise InputError(why_no_labels)
    config = run.config
    model, names = run.model(weights, "float32"), config["class_names"]
    if len(names) != model.num_classes:
        raise InputError(
            f"{run.path} is corrupt: {len(names)} class names for the {model.num_classes} classes "
            "of its model."
        )
    name = run.path.resolve().name
    return ExportSource(model, names, view_of_run(config), name, weights, run, True)


def _of_weights(name: str | None, weights: str | None) -> ExportSource:
    if weights in RUN_WEIGHTS and not user_path(weights).exists():
        raise InputError(f"The weights {weights!r} are those of a run: give the run, too.")
    found = weights and _run_of(weights)
    if found:
        source = _of_run(*found)
    else:
        model, view, names = load_classifier(weights or name, name if weights else None)
        class_names = tuple(names or default_class_names(model.num_classes))
        origin, has_names = weights or "released with the model", names is not None
        source = ExportSource(model, class_names, view, model.name, origin, None, has_names)
    if name not in (None, source.model.name):
        raise InputError(f"{weights} holds a {source.model.name}, not a {name}.")
    return source


def _run_of(weights: str) -> tuple[Run, str] | None:
    """Returns the run that weights are in, and which of its weights they are."""
    if weights.startswith(PREFIX):
        return None
    text, _, part = weights.partition("#")
    path, part = user_path(text), part.lower() or "final"
    for kind, file in RUN_WEIGHTS.items():
        if path.name == file:
            path, part = path.parent, kind
    return None if run_model(path) is None else (load_run(path), part)


def _in_float32(model: Classifier) -> Classifier:
    """Returns a model that computes in float32, whatever it was trained or stored in."""
    if model.dtype_policy.name == "float32":
        return model
    copy = type(model).from_config({**model.get_config(), "dtype": "float32"})
    copy.set_weights(model.get_weights())
    return copy


def _with_head(model: Classifier, name: str) -> Classifier:
    """Returns a model with the same layers whose one head is that of a name."""
    if name not in HEADS:
        raise unknown_name("head", name, HEADS)
    if name == "fused":
        return model
    heads = model.heads.output
    if name not in heads:
        raise InputError(f"{model.name} has no {name} head. It has: {', '.join(heads)}.")
    if len(heads) == 1:
        return model
    image_format = model.image_format
    one = Classifier(model.input, {"class": heads[name]}, name=model.name)
    one.set_normalization(image_format.mean, image_format.std)
    return one
