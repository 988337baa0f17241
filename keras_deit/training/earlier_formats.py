"""Runs and teachers of earlier versions: their identities, and the names of their files.

Format 1, of version 0.1.0.dev0, held every value under the names of that time.
"""

import dataclasses
import os

import keras

from keras_deit.core.image_format import ImageFormat
from keras_deit.data import Augmentation, Dataset, full_name
from keras_deit.objectives import Distillation, Supervised
from keras_deit.optimizers import Optimization
from keras_deit.recipes import FINE_TUNING_TEACHER_RECIPE, Recipe, TeacherRecipe, get_recipe
from keras_deit.teachers import TeacherRequest
from keras_deit.training.identity import (
    changed_fields,
    changed_values,
    digest,
    exif_orientation,
    file_stem,
    run_identity,
    short_name,
    teacher_data,
    teacher_identity,
    teacher_recipe_identity,
)
from keras_deit.training.job import Job
from keras_deit.training.paths import spelled_identities

# The fields of format 1, in which every value was stored.
_OPTIMIZATION_1 = (
    *("epochs", "batch_size", "accumulation_steps", "optimizer", "learning_rate"),
    *("learning_rate_scaling", "schedule", "warmup_epochs", "warmup_steps"),
    *("warmup_learning_rate", "min_learning_rate", "weight_decay", "adam_epsilon", "momentum"),
    *("clip_norm", "layer_decay", "trainable", "training_mode", "ema_decay"),
)

_AUGMENTATION_1 = (
    *("crop", "crop_padding", "crop_scale", "crop_aspect", "flip_probability", "auto_augment"),
    *("color_jitter", "erase_probability", "erase_area", "erase_aspect", "erase_count"),
    *("mixup_alpha", "cutmix_alpha", "mix_probability", "mix_switch_probability", "mix_mode"),
    *("label_smoothing", "repeated_augmentation", "interpolation", "geometric_interpolation"),
    "geometric_fill",
)

_IMAGE_FORMAT_1 = ("height", "width", "mean", "std", "channels")

_DISTILLATION_1 = {
    *("loss", "kind", "alpha", "temperature", "validate_agreement"),
    *("teacher", "teacher_weights", "teacher_recipe", "teacher_pixels", "teacher_outputs"),
}

# Values of a run that format 1 did not store; a run of that format resumes with any of them.
NOT_IN_FORMAT_1 = ("objective.teacher_pixels", "objective.teacher_outputs")

_OLD_RECIPE_NAMES = {"augreg_regularized": "augreg_regularised"}


def as_started(job: Job, identity: dict) -> Job:
    """Returns a job as an earlier version has started it, which had no warm-up of the EMA, or did
    not turn photographs upright.

    Args:
        job: what the command says now.
        identity: of the run that it resumes.
    """
    optimization = identity.get("optimization", {})
    if exif_orientation(job) and "exif_orientation" not in identity:
        job = _without_exif_orientation(job)
    old = "ema_decay" in optimization and "ema_warmup" not in optimization
    return _without_ema_warmup(job) if old else job


def _without_ema_warmup(job: Job) -> Job:
    optimization = dataclasses.replace(job.recipe.optimization, ema_warmup=False)
    recipe = dataclasses.replace(job.recipe, optimization=optimization)
    return dataclasses.replace(job, recipe=recipe)


def _without_exif_orientation(job: Job) -> Job:
    return dataclasses.replace(job, exif_orientation=False)


def upgraded_run(identity: dict) -> dict:
    """Returns the identity of a run of format 1 in the present format."""
    recipe = dict(identity["recipe"])
    optimization, loss = _optimization_from_format_1(recipe["optimisation"])
    kind, teacher = recipe["distillation"], recipe["teacher"]
    if kind == "none" and teacher is None:
        objective = Supervised(loss)
    else:
        objective = Distillation(
            loss,
            kind=kind,
            alpha=recipe["alpha"],
            temperature=recipe["temperature"],
            teacher=teacher,
            teacher_weights=recipe["teacher_weights"],
            teacher_recipe=_teacher_recipe_from_format_1(recipe["teacher_recipe"]),
            validate_agreement=recipe["validate_agreement"],
        )
    fields = ("model", "model_values", "fine_tunes", "weights", "head_bias", "validation_epochs")
    fields += ("evaluation_crop_ratio", "evaluation_interpolation")
    upgraded = Recipe(
        name=get_recipe(recipe["name"]).name,
        about=get_recipe(recipe["name"]).about,
        optimization=optimization,
        augmentation=Augmentation(**recipe["augmentation"]),
        objective=objective,
        **{name: recipe[name] for name in fields},
    )
    names = ("dataset", "train_examples", "seed", "mixed_precision")
    # A job checks that weights are named, which an old run did.
    job = Job(recipe=upgraded, **{name: identity[name] for name in names})
    old = _without_ema_warmup(_without_exif_orientation(job))
    return {**run_identity(old), "backend": identity["backend"]}


def upgraded_teacher_metadata(metadata: dict) -> dict:
    """Returns the resume metadata of a teacher's checkpoint in the present format."""
    if "dataset" in metadata:
        metadata = {**metadata, "dataset": full_name(metadata["dataset"])}
    recipe = metadata.get("recipe")
    if not isinstance(recipe, dict) or "optimisation" not in recipe:
        return metadata
    return {**metadata, "recipe": teacher_recipe_identity(_teacher_recipe_from_format_1(recipe))}


def run_digests(job: Job) -> list[str]:
    """Returns the digests that a run can have in the name of its directory, the present first."""
    old = _run_identity_of_format_1(job)
    names = _names_of_format_1(job.dataset) if old else ()
    as_stored = _without_exif_orientation(job)
    versions = (job, as_stored, _without_ema_warmup(as_stored))
    identities = [*map(run_identity, versions), *({**old, "dataset": name} for name in names)]
    spelled = [other for identity in identities for other in spelled_identities(identity)]
    return list(dict.fromkeys(map(digest, (*identities, *spelled))))


def spelled_teacher_files(
    request: TeacherRequest, recipe: TeacherRecipe, dataset: Dataset, student_format: ImageFormat
) -> list[str]:
    """Returns patterns of the names that the file of a trained teacher can have if the path of the
    weights that it started from was written in another way."""
    values = (request, recipe, dataset, student_format)
    identities = [teacher_identity(*values, known) for known in (True, False)]
    spelled = [other for identity in identities for other in spelled_identities(identity)]
    return [f"{file_stem(request.name)}-*-{digest(other)}.keras" for other in spelled]


def teacher_file_names(
    request: TeacherRequest, recipe: TeacherRecipe, dataset: Dataset, student_format: ImageFormat
) -> list[str]:
    """Returns the names that the file of a trained teacher can have, the present one first.

    In the present one the name of the data can be another one, so that `*` stands in a further one.
    """
    values = (request, recipe, dataset, student_format)
    present, by_name = (digest(teacher_identity(*values, known)) for known in (True, False))
    stem = f"{request.name}-{short_name(dataset.name)}"
    names = [f"{stem}-{present}", f"{request.name}-*-{present}", f"{stem}-{by_name}"]
    old_recipe = _teacher_recipe_in_format_1(recipe)
    for name in _names_of_format_1(dataset.name) if old_recipe else ():
        old = {
            "teacher": request.name,
            "weights": request.weights,
            "recipe": old_recipe,
            "student_format": {name: getattr(student_format, name) for name in _IMAGE_FORMAT_1},
            **teacher_data(dataset, by_contents=False),
            "dataset": name,
        }
        names.append(f"{request.name}-{name}-{digest(old)}")
    return [f"{file_stem(name)}.keras" for name in names]


def _names_of_format_1(dataset: str) -> list[str]:
    """Returns a dataset's name as it was stored: a path was that of the command."""
    prefix, _, path = dataset.partition(":")
    if not os.path.isabs(path):
        return [dataset]
    relative = os.path.relpath(path)
    return [f"{prefix}:{spelled}" for spelled in (path, relative, f"{relative}/", f"./{relative}")]


def _run_identity_of_format_1(job: Job) -> dict | None:
    """Returns the identity as format 1 had it; None if it could not express this run."""
    recipe, objective = job.recipe, job.recipe.objective
    if (job.test_share, job.minutes, job.monitor) != (None, None, None):
        return None
    if type(objective) is Supervised:
        values = Distillation(objective.loss, "none").values
    elif type(objective) is Distillation and set(changed_values(objective)) <= _DISTILLATION_1:
        values = objective.values
    else:
        return None
    teacher_recipe = values["teacher_recipe"] or FINE_TUNING_TEACHER_RECIPE
    parts = {
        "optimisation": _optimization_in_format_1(recipe.optimization, values["loss"]),
        "augmentation": _augmentation_in_format_1(recipe.augmentation),
        "teacher_recipe": _teacher_recipe_in_format_1(teacher_recipe),
    }
    if None in parts.values():
        return None
    del parts["optimisation"]["accumulation_steps"]
    return {
        "dataset": job.dataset,
        "train_examples": job.train_examples,
        "seed": job.seed,
        "mixed_precision": job.mixed_precision,
        "backend": keras.backend.backend(),
        "recipe": {
            **parts,
            "name": _OLD_RECIPE_NAMES.get(recipe.name, recipe.name),
            "model": recipe.model,
            "model_values": recipe.model_values,
            "distillation": values["kind"],
            "alpha": values["alpha"],
            "temperature": values["temperature"],
            "teacher": values["teacher"],
            "variants": [],
            "fine_tunes": recipe.fine_tunes,
            "weights": recipe.weights,
            "head_bias": recipe.head_bias,
            "teacher_weights": values["teacher_weights"],
            "evaluation_crop_ratio": recipe.evaluation_crop_ratio,
            "evaluation_interpolation": recipe.evaluation_interpolation,
            "validation_epochs": recipe.validation_epochs,
            "validate_agreement": values["validate_agreement"],
        },
    }


def _teacher_recipe_in_format_1(recipe: TeacherRecipe) -> dict | None:
    optimization = _optimization_in_format_1(recipe.optimization, "cross_entropy")
    augmentation = _augmentation_in_format_1(recipe.augmentation)
    own = ("image_size", "batch_norm_momentum")
    new = set(changed_fields(recipe)) - {"optimization", "augmentation", *own}
    if optimization is None or augmentation is None or new:
        return None
    return {
        "optimisation": optimization,
        "augmentation": augmentation,
        **{name: getattr(recipe, name) for name in own},
    }


def _optimization_in_format_1(optimization: Optimization, loss: str) -> dict | None:
    values = _in_format_1(optimization, _OPTIMIZATION_1)
    return values and {**values, "loss": loss}


def _augmentation_in_format_1(augmentation: Augmentation) -> dict | None:
    values = _in_format_1(augmentation, _AUGMENTATION_1)
    if values and values["geometric_fill"] == "gray":
        values["geometric_fill"] = "grey"
    return values


def _in_format_1(values, names: tuple[str, ...]) -> dict | None:
    if set(changed_fields(values)) - set(names):
        return None
    return {name: getattr(values, name) for name in names}


def _optimization_from_format_1(values: dict) -> tuple[Optimization, str]:
    values = dict(values)
    loss = values.pop("loss")
    return Optimization(**values), loss


def _teacher_recipe_from_format_1(values: dict) -> TeacherRecipe:
    optimization, _ = _optimization_from_format_1(values["optimisation"])
    rest = {name: values[name] for name in ("image_size", "batch_norm_momentum")}
    return TeacherRecipe(optimization, Augmentation(**values["augmentation"]), **rest)
