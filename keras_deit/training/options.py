"""Every value that a user can set for a training: the flags of the command, and in Python."""

import dataclasses
import logging
import pathlib

from keras_deit.core.errors import InputError
from keras_deit.data import Augmentation, load_dataset
from keras_deit.distributed import STRATEGIES, Devices
from keras_deit.models import abstract_model, get_spec
from keras_deit.recipes import (
    DEFAULT_TEACHER_RECIPE,
    Option,
    Recipe,
    apply_options,
    default_recipe,
    get_recipe,
    list_recipes,
    recipe_options,
)
from keras_deit.recipes.options import (
    checked_values,
    field_options,
    teacher_options,
    teacher_recipe,
    unique_options,
)
from keras_deit.teachers import check_teacher_name
from keras_deit.training.input_pipeline import InputPipeline
from keras_deit.training.job import ON_PROBLEM, Job
from keras_deit.training.run import Run
from keras_deit.training.teachers import check_output, fine_tune_teacher
from keras_deit.training.trainer import train_job

_logger = logging.getLogger("keras_deit")

PRECISIONS = {"none": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def data_options() -> list[Option]:
    """Returns the options that say which data and which recipe."""
    return [
        Option(
            "dataset",
            str,
            '"digits", "folder:PATH", or a name of TensorFlow Datasets.',
            default="digits",
        ),
        Option("data_dir", str, "Where TensorFlow Datasets keeps its data."),
        Option(
            "recipe",
            str,
            f"How to train; by default {default_recipe('digits')} for digits, otherwise "
            f"{default_recipe('')}. One of {', '.join(list_recipes())}.",
        ),
    ]


def training_options() -> list[Option]:
    """Returns all options of a training."""
    help_of = {option.name: option for option in field_options(Job)}
    devices = {option.name: option for option in field_options(Devices)}

    def of_job(name: str, **changes) -> Option:
        return dataclasses.replace(help_of[name], **changes)

    defaults = {field.name: field.default for field in dataclasses.fields(Job)}
    return unique_options(
        [
            *data_options(),
            *recipe_options(),
            Option("run_dir", str, "Directory of the run; by default one below runs/."),
            of_job("train_examples"),
            of_job("seed", default=0),
            Option(
                "mixed_precision",
                str,
                "What to compute in besides float32.",
                tuple(PRECISIONS),
                default="none",
            ),
            of_job("activation_checkpointing", default=False, old_name="rematerialise"),
            of_job("teacher_dir", default=defaults["teacher_dir"]),
            of_job("checkpoint_seconds", default=defaults["checkpoint_seconds"]),
            of_job("keep_checkpoints", default=defaults["keep_checkpoints"]),
            of_job("on_nan", choices=ON_PROBLEM, default="fail"),
            of_job("on_bad_image", choices=ON_PROBLEM, default="fail"),
            dataclasses.replace(devices.pop("strategy"), choices=STRATEGIES, default="none"),
            *(
                dataclasses.replace(option, default=_default_of(Devices, name))
                for name, option in devices.items()
            ),
        ]
    )


def _default_of(cls: type, name: str):
    return next(field.default for field in dataclasses.fields(cls) if field.name == name)


def make_job(**given) -> Job:
    """Returns the job that some options describe.

    Args:
        **given: by the name of the option, see `training_options`; None means the default.

    Raises:
        InputError: there is no such option, or a value is out of range.
    """
    options = training_options()
    given = {name: value for name, value in given.items() if value is not None}
    given = checked_values(_with_new_names(given), options)
    values = {o.name: o.default for o in options if o.default is not None} | given
    devices = {field.name: values.get(field.name) for field in dataclasses.fields(Devices)}
    fields = [field.name for field in dataclasses.fields(Job)]
    special = ("recipe", "devices", "mixed_precision")
    return Job(
        recipe=chosen_recipe(given),
        devices=Devices(**{k: v for k, v in devices.items() if v is not None}),
        mixed_precision=PRECISIONS[values["mixed_precision"]],
        **{name: values[name] for name in fields if name in values and name not in special},
    )


def _with_new_names(given: dict) -> dict:
    """Replaces names of earlier versions, which it mentions once."""
    renamed = {o.old_name: o.name for o in training_options() if o.old_name in given}
    for old, new in renamed.items():
        _logger.warning("The option %s is now called %s.", old, new)
    return {renamed.get(name, name): value for name, value in given.items()}


def chosen_recipe(given: dict) -> Recipe:
    """Returns the recipe that some options describe.

    Raises:
        InputError: there is no such recipe or model, or a value is out of range.
    """
    recipe = _recipe_by_name(given)
    model = get_spec(given.get("model") or recipe.model).name
    return apply_options(recipe.for_model(model), given)


def _recipe_by_name(given: dict) -> Recipe:
    return get_recipe(given.get("recipe") or default_recipe(given.get("dataset", "digits")))


def train(print_fn=print, **options) -> Run:
    """Trains a model, exactly as the command `keras-deit train` does.

    Args:
        print_fn: called with each line for the user.
        **options: any flag of the command by its name, such as `dataset="folder:PATH"`,
            `model="deit_tiny_patch16_224"`, `recipe="digits"`, `epochs=30`, `run_dir="runs/mine"`.

    Returns:
        The finished run: `summary`, `history`, `model()`.

    Raises:
        InputError: there is no such option, or what `train_job` raises.
    """
    return train_job(make_job(**options), options.get("run_dir"), print_fn)


def teacher_training_options() -> list[Option]:
    """Returns all options of the training of a teacher."""
    data = {option.name: option for option in training_options()}
    own = ("dataset", "data_dir", "recipe", "teacher_pixels", "teacher_outputs", "image_size")
    return unique_options(
        [
            Option("teacher", str, "Name of the teacher, or its .keras file.", required=True),
            Option("output", str, "The .keras file to write.", required=True),
            Option("weights", str, '"imagenet" for a keras.applications teacher.'),
            *(data[name] for name in own),
            *teacher_options(),
            *field_options(Augmentation),
        ]
    )


def train_teacher(**given) -> dict[str, float]:
    """Trains or fine-tunes a teacher, exactly as the command `keras-deit train-teacher` does.

    A head with another number of classes than the data is replaced by a new one.

    Args:
        **given: any flag of the command by its name, such as `teacher="kerascv:resnet18_v2"`,
            `output="teacher.keras"`, `dataset="folder:PATH"`, `epochs=30`.

    Returns:
        Top-1 on the validation and on the test split.

    Raises:
        InputError: there is no such option or teacher, one that is required is missing, or the
            output exists already.
        Stopped: by SIGTERM or Ctrl-C; the same call resumes.
    """
    options = teacher_training_options()
    given = checked_values(given, options)
    for option in options:
        if option.required and option.name not in given:
            raise InputError(f"{option.name} is required: {option.help}")
    recipe = _recipe_by_name(given)
    recipe = recipe.for_model(recipe.model)
    sizes = {"image_size": given["image_size"]} if "image_size" in given else {}
    own_recipe = recipe.objective.values.get("teacher_recipe") or DEFAULT_TEACHER_RECIPE
    output = pathlib.Path(given["output"])
    check_output(output)
    check_teacher_name(given["teacher"])
    student = abstract_model(recipe.model, **{**recipe.model_values, **sizes})
    dataset = load_dataset(given.get("dataset", "digits"), given.get("data_dir"))
    return fine_tune_teacher(
        given["teacher"],
        dataset,
        teacher_recipe(own_recipe, given, prefix=""),
        InputPipeline(
            student.image_format, dataset.num_classes, recipe.crop_ratio, recipe.interpolation
        ),
        output,
        weights=given.get("weights"),
        pixels=given.get("teacher_pixels"),
        outputs=given.get("teacher_outputs"),
    )
