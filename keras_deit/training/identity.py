"""The identity of a run and of a trained teacher: what makes it different from another one.

An identity holds the values that differ from the defaults of the dataclasses. So a field that a
later version adds leaves old runs and teachers what they were, as long as its default means what
was done before. For the same reason a default must never change without a new format.

The identities of earlier versions are in `earlier_formats`.
"""

import dataclasses
import hashlib
import json

import keras

from keras_deit.core.image_format import ImageFormat
from keras_deit.core.names import readable
from keras_deit.core.processes import process_index_and_count
from keras_deit.data import Augmentation, Dataset
from keras_deit.objectives import Objective, get_objective, objective_name
from keras_deit.optimizers import Optimization
from keras_deit.recipes import TeacherRecipe, default_teacher_recipe
from keras_deit.teachers import TeacherRequest, is_package_model, weights_digest
from keras_deit.training.job import Job

FORMAT = 2

_OF_JOB = (
    "test_share",
    "minutes",
    "train_examples",
    "seed",
    "mixed_precision",
    "monitor",
    "coarse",
)
_OF_TEACHER_RECIPE = (
    *("image_size", "batch_norm_momentum", "minutes", "loss", "target_smoothing"),
    *("drop_path_rate", "train_image_size"),
)
# `accumulation_steps` changes no result; `ema_warmup` is stored in another way.
_NOT_IN_IDENTITY = ("accumulation_steps", "ema_warmup")


def run_identity(job: Job) -> dict:
    """Returns the identity of a run as JSON values.

    The backend belongs to it, because its random numbers differ.
    """
    recipe = job.recipe
    own = {
        "dataset": job.dataset,
        "backend": keras.backend.backend(),
        "recipe": recipe.name,
        "model": recipe.model,
        "model_values": recipe.model_values,
        "optimization": {**changed_fields(recipe.optimization), **_ema_warmup(recipe.optimization)},
        "augmentation": changed_fields(recipe.augmentation),
        "objective": objective_identity(recipe.objective),
        **exif_orientation(job),
        **changed_fields(job, _OF_JOB),
        **changed_fields(
            recipe,
            (
                *("fine_tunes", "weights", "head_bias", "validation_epochs"),
                *("evaluation_crop_ratio", "evaluation_interpolation"),
            ),
        ),
    }
    return _as_json(own)


def _ema_warmup(optimization: Optimization) -> dict:
    """Returns the warm-up of the EMA, which runs of earlier versions have not, so that it is stored
    although it is the default."""
    return {"ema_warmup": True} if optimization.ema_decay and optimization.ema_warmup else {}


def exif_orientation(job: Job) -> dict:
    """Returns whether photographs are turned upright, which earlier versions have not done, so that
    it is stored although it is the default."""
    turned = job.exif_orientation and job.dataset.startswith("folder:")
    return {"exif_orientation": True} if turned else {}


def objective_identity(objective: Objective) -> dict:
    """Returns the name of an objective and its values that differ from the defaults."""
    values = changed_values(objective)
    values.pop("teacher_recipe", None)
    if objective.teacher_request is not None:
        # Also the default one, which a later version may change.
        request = objective.teacher_request
        recipe = request.recipe or default_teacher_recipe(request.name, request.weights)
        values["teacher_recipe"] = teacher_recipe_identity(recipe)
    return _as_json({"name": objective_name(type(objective)), **values})


def objective_from(identity: dict) -> Objective:
    """Returns the objective of a run's identity.

    Raises:
        InputError: it is one of the user's own that is not registered.
    """
    values = dict(identity["objective"])
    cls = get_objective(values.pop("name"))
    recipe = values.pop("teacher_recipe", None)
    # An objective without this argument has the default recipe for its teacher.
    if recipe is not None and "teacher_recipe" in cls.defaults():
        values["teacher_recipe"] = _teacher_recipe_from(recipe)
    return cls(**values)


def teacher_recipe_identity(recipe: TeacherRecipe) -> dict:
    """Returns the values of a teacher's recipe that differ from the defaults of its parts."""
    return _as_json(
        {
            "optimization": changed_fields(recipe.optimization),
            "augmentation": changed_fields(recipe.augmentation),
            **changed_fields(recipe, _OF_TEACHER_RECIPE),
        }
    )


def _teacher_recipe_from(values: dict) -> TeacherRecipe:
    optimization = Optimization(**values["optimization"])
    augmentation = Augmentation(**values["augmentation"])
    return TeacherRecipe(**{**values, "optimization": optimization, "augmentation": augmentation})


def teacher_identity(
    request: TeacherRequest,
    recipe: TeacherRecipe,
    dataset: Dataset,
    student_format: ImageFormat,
    by_contents: bool = True,
) -> dict:
    """Returns the identity of a teacher that is trained for a dataset.

    Earlier versions knew the data by their name, and not by their contents.
    """
    return _as_json(
        {
            "teacher": request.name,
            "weights": request.weights,
            **_weights_contents(request),
            "recipe": teacher_recipe_identity(recipe),
            "student_format": changed_fields(student_format),
            **teacher_data(dataset, by_contents),
        }
    )


def _weights_contents(request: TeacherRequest) -> dict:
    """Returns what identifies the file of weights that a model of this package starts from."""
    found = weights_digest(request.weights) if is_package_model(request.name) else None
    return {"weights_contents": found} if found else {}


def teacher_data(dataset: Dataset, by_contents: bool = True) -> dict:
    """Returns what identifies the data: their contents if these are known, wherever they are."""
    known = by_contents and dataset.fingerprint is not None
    return {
        **({"contents": dataset.fingerprint.digest} if known else {"dataset": dataset.name}),
        "classes": dataset.class_names,
        "examples": len(dataset.train),
        "backend": keras.backend.backend(),
        **({"exif_orientation": True} if dataset.exif_orientation else {}),
        **({"coarse_of": dataset.coarse_of} if dataset.coarse_of else {}),
    }


def views_identity(job: Job, dataset: Dataset, image_format: ImageFormat) -> dict:
    """Returns what the views of a training and their order in the batches depend on.

    Args:
        job: what to do.
        dataset: all of it.
        image_format: format of the student's images.
    """
    optimization, augmentation = job.recipe.optimization, job.recipe.augmentation
    mixed = augmentation.mixup_alpha or augmentation.cutmix_alpha
    _, processes = process_index_and_count()
    data = teacher_data(dataset)
    del data["backend"]
    return _as_json(
        {
            **data,
            # Another image takes the place of one that cannot be read.
            **changed_fields(job, ("train_examples", "seed", "on_bad_image", "max_image_pixels")),
            "image_format": changed_fields(image_format),
            # Smoothing changes the labels of the data alone.
            "augmentation": changed_fields(dataclasses.replace(augmentation, label_smoothing=0.0)),
            **changed_fields(optimization, ("batch_size", "sampling")),
            # With this partner an image is mixed with one of its own shard.
            "shards": processes * optimization.accumulation_steps
            if mixed and augmentation.mix_partner == "previous"
            else 1,
        }
    )


def digest(values: dict) -> str:
    """Returns eight hexadecimal digits that stand for nested JSON values."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def short_name(dataset: str) -> str:
    """Returns the part of a dataset's name that stands in the names of runs and teachers.

    It is UTF-8, because not all that writes files takes other names.
    """
    return readable(dataset.rstrip("/").split("/")[-1]).replace(":", "_")


def file_stem(name: str) -> str:
    """Returns a name as it stands in the name of a file."""
    return name.replace(":", "_").replace("/", "_")


def changed_fields(values, names: tuple[str, ...] | None = None) -> dict:
    """Returns the fields of a dataclass instance that differ from their defaults."""
    return {
        field.name: getattr(values, field.name)
        for field in dataclasses.fields(values)
        if field.name not in _NOT_IN_IDENTITY
        and (names is None or field.name in names)
        and getattr(values, field.name) != field.default
    }


def changed_values(objective: Objective) -> dict:
    """Returns the values of an objective that differ from their defaults."""
    defaults = type(objective).defaults()
    return {name: v for name, v in objective.values.items() if v != defaults[name]}


def _as_json(values: dict) -> dict:
    """Returns the values as they come back from a JSON file, where tuples are lists.

    Whole numbers are integers, so that 5 and 5.0 have the same digest.
    """
    return json.loads(json.dumps(values), parse_float=_number)


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() else value
