"""Every value that a user can set for a training: the flags of the command, and in Python."""

import dataclasses
import logging

from keras_deit.core.errors import InputError
from keras_deit.core.files import user_path
from keras_deit.core.image_format import ImageFormat
from keras_deit.core.processes import has_accelerator, is_writer
from keras_deit.data import (
    Augmentation,
    BadImages,
    DatasetSize,
    dataset_size,
    load_dataset,
    say_folder,
)
from keras_deit.data.folder_files import listed
from keras_deit.distributed import Devices
from keras_deit.models import abstract_model, get_spec
from keras_deit.recipes import (
    AUTO,
    CONVNET_RECIPES,
    FINE_TUNED_MODEL,
    Option,
    Recipe,
    Situation,
    TeacherRecipe,
    apply_options,
    auto_recipe,
    default_recipe,
    default_teacher_recipe,
    get_recipe,
    list_recipes,
    recipe_options,
    with_auto_teacher,
)
from keras_deit.recipes.option_kinds import checked_values, field_options, unique_options
from keras_deit.recipes.options import (
    check_teacher_is_used,
    teacher_options,
    teacher_recipe,
)
from keras_deit.teachers import (
    absolute_teacher,
    absolute_teacher_weights,
    check_stochastic_depth,
    check_teacher_name,
)
from keras_deit.training.input_pipeline import InputPipeline
from keras_deit.training.job import Job
from keras_deit.training.teacher_training import check_output, fine_tune_teacher

_logger = logging.getLogger("keras_deit")

DEFAULT_DATASET = "digits"

PRECISIONS = {"none": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def data_options() -> list[Option]:
    """Returns the options that say which data and which recipe."""
    return [
        Option(
            "dataset",
            str,
            '"digits", "folder:PATH", or a name of TensorFlow Datasets.',
            default=DEFAULT_DATASET,
        ),
        Option("data_dir", str, "Where TensorFlow Datasets keeps its data."),
        Option(
            "recipe",
            str,
            f"How to train; by default {default_recipe('digits')} for digits, otherwise "
            f"{AUTO}, which is chosen for the data. One of {', '.join([AUTO, *list_recipes()])}.",
        ),
    ]


def training_options() -> list[Option]:
    """Returns all options of a training."""
    job = {option.name: option for option in field_options(Job, with_defaults=True)}
    checkpointing = "activation_checkpointing"
    job[checkpointing] = dataclasses.replace(job[checkpointing], old_name="rematerialise")
    own = {option.name: option for option in data_options()}
    own["coarse"] = Option(
        "coarse",
        str,
        "Coarse labels to train on; the evaluation sees the fine ones too. JSON file with the "
        'coarse class of every class; "folders" for folder:PATH with COARSE/FINE/*.jpg; or '
        '"digits" for three groups of the digits.',
    )
    own["mixed_precision"] = Option(
        "mixed_precision",
        str,
        "What to compute in besides float32.",
        tuple(PRECISIONS),
        default="none",
    )
    return unique_options(
        [
            *own.values(),
            *recipe_options(),
            Option("run_dir", str, "Directory of the run; by default one below runs/."),
            *(option for name, option in job.items() if name not in own),
            *field_options(Devices, with_defaults=True),
        ]
    )


def make_job(size: DatasetSize | None = None, **given) -> Job:
    """Returns the job that some options describe.

    Args:
        size: size of the dataset, for a recipe that is chosen for the data; None to look at the
            data, which are prepared if their size is not known before that.
        **given: by the name of the option, see `training_options`; None means the default.

    Raises:
        InputError: there is no such option, or a value is out of range.
    """
    given = {name: value for name, value in given.items() if value is not None}
    given = checked_values(_with_new_names(given), training_options())
    check_teacher_is_used(given)
    given, reasons = with_auto_teacher(given)
    recipe = _with_reasons(chosen_recipe(given, size), reasons)
    return with_job_values(Job(given.get("dataset", DEFAULT_DATASET), recipe), given)


def with_job_values(job: Job, given: dict) -> Job:
    """Returns a job with the values of some options that are not of its recipe."""
    devices = {name: given[name] for name in Devices.__dataclass_fields__ if name in given}
    if "mixed_precision" in given:
        given = {**given, "mixed_precision": PRECISIONS[given["mixed_precision"]]}
    fields = {*Job.__dataclass_fields__} - {"recipe", "devices"}
    return dataclasses.replace(
        job,
        devices=dataclasses.replace(job.devices, **devices),
        **{name: given[name] for name in fields if name in given},
    )


def _with_reasons(recipe: Recipe, reasons: tuple[str, ...]) -> Recipe:
    about = dataclasses.replace(recipe.about, reasons=(*recipe.about.reasons, *reasons))
    return dataclasses.replace(recipe, about=about)


def _with_new_names(given: dict) -> dict:
    """Replaces names of earlier versions, which it mentions once."""
    renamed = {o.old_name: o.name for o in training_options() if o.old_name in given}
    for old, new in renamed.items():
        _logger.warning("The option %s is now called %s.", old, new)
    return {renamed.get(name, name): value for name, value in given.items()}


def chosen_recipe(given: dict, size: DatasetSize | None = None) -> Recipe:
    """Returns the recipe that some options describe.

    Raises:
        InputError: there is no such recipe or model, or a value is out of range.
    """
    recipe = _recipe_by_name(given)
    if recipe is None:
        recipe = auto_recipe(_situation(given, size))
        given = {**given, **_chosen_size(recipe, given)}
    model = get_spec(given.get("model") or recipe.model).name
    return apply_options(recipe.for_model(model), given)


def _chosen_size(recipe: Recipe, given: dict) -> dict:
    """Returns the size of images that is given, or the one that the recipe auto has made of it."""
    if "image_size" not in given:
        return {}
    return {"image_size": recipe.model_values.get("image_size", given["image_size"])}


def _recipe_by_name(given: dict) -> Recipe | None:
    """Returns the recipe that some options name; None if it has to be chosen for the data."""
    name = given.get("recipe") or default_recipe(given.get("dataset", DEFAULT_DATASET))
    return None if name == AUTO else get_recipe(name)


# What a user can give that the choice of a recipe depends on.
_OF_SITUATION = (
    *("weights", "model", "image_size", "patch_size"),
    *("teacher", "teacher_weights"),
)


def _situation(given: dict, size: DatasetSize | None = None) -> Situation:
    """Returns what the choice of a recipe depends on."""
    data = size or _size(given)
    examples = min(data.examples, given.get("train_examples", data.examples))
    return Situation(
        data=dataclasses.replace(data, examples=examples),
        has_accelerator=has_accelerator(),
        **{name: given.get(name) for name in _OF_SITUATION},
    )


def _size(given: dict) -> DatasetSize:
    values = (given.get("dataset", DEFAULT_DATASET), given.get("data_dir"), given.get("test_share"))
    coarse = given.get("coarse")
    try:
        return dataset_size(*values, with_side=True, coarse=coarse)
    except InputError:
        # TFDS may know the size only after it has prepared the data. Other errors come again.
        name, data_dir, test_share = values
        load_dataset(name, data_dir, test_share=test_share, coarse=coarse)
        return dataset_size(*values, with_side=True, coarse=coarse)


_TEACHER_WEIGHTS = (
    '"imagenet" for the released weights of a keras.applications teacher or of a model of this '
    "package; for the latter also a file, the directory of a run or hf://OWNER/NAME."
)


def teacher_training_options() -> list[Option]:
    """Returns all options of the training of a teacher."""
    data = {option.name: option for option in training_options()}
    own = (
        *("dataset", "data_dir", "test_share", "on_bad_image", "max_image_pixels"),
        *("exif_orientation", "recipe"),
        *("teacher_pixels", "teacher_outputs", "image_size", "accept_changed_data"),
    )
    return unique_options(
        [
            Option("teacher", str, "Name of the teacher, or its .keras file.", required=True),
            Option("output", str, "The .keras file to write.", required=True),
            Option("weights", str, _TEACHER_WEIGHTS),
            *(data[name] for name in own),
            dataclasses.replace(data["checkpoint_seconds"], minimum=0),
            *teacher_options(),
            *field_options(Augmentation),
        ]
    )


# How the data of a teacher are read.
_READING = ("test_share", "on_bad_image", "max_image_pixels", "exif_orientation")


def train_teacher(**given) -> dict[str, float]:
    """Trains or fine-tunes a teacher, exactly as the command `keras-deit train-teacher` does.

    A head with another number of classes than the data is replaced by a new one.

    Args:
        **given: any flag of the command by its name, such as `teacher="kerascv:resnet18_v2"`,
            `output="teacher.keras"`, `dataset="folder:PATH"`, `epochs=30`.

    Returns:
        Top-1 on the validation split and, if the data has one, on the test split.

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
    given["teacher"] = absolute_teacher(given["teacher"])
    if "weights" in given:
        given["weights"] = absolute_teacher_weights(given["teacher"], given["weights"])
    output = user_path(given["output"])
    check_output(output)
    check_teacher_name(given["teacher"], given.get("weights"), to_train=True)
    published, *view = _teacher_recipe_and_view(given)
    recipe = teacher_recipe(published, given, prefix="")
    check_stochastic_depth(given["teacher"], recipe.drop_path_rate)
    name, data_dir = given.get("dataset", DEFAULT_DATASET), given.get("data_dir")
    reading = {option: given[option] for option in _READING if option in given}
    dataset = load_dataset(name, data_dir, **reading)
    if is_writer():
        say_folder(dataset, print)
    bad_images = BadImages(given.get("on_bad_image", Job.on_bad_image))
    scores = fine_tune_teacher(
        given["teacher"],
        dataset,
        recipe,
        InputPipeline(view[0], dataset.num_classes, *view[1:], bad_images),
        output,
        weights=given.get("weights"),
        pixels=given.get("teacher_pixels"),
        outputs=given.get("teacher_outputs"),
        accept_changed_data=given.get("accept_changed_data", False),
        checkpoint_seconds=given.get("checkpoint_seconds", Job.checkpoint_seconds),
    )
    if (names := bad_images.names) and is_writer():
        print(f"Unreadable images, not used: {len(names)}, {listed(names)}.")
    return scores


def _teacher_recipe_and_view(given: dict) -> tuple[TeacherRecipe, ImageFormat, float, str]:
    """Returns how a teacher is trained, and the images it is evaluated on: their format, crop ratio
    and interpolation, which are those of the student unless the recipe is one of a teacher."""
    if given.get("recipe") in CONVNET_RECIPES:
        convnet = CONVNET_RECIPES[given["recipe"]]
        size = given.get("image_size")
        if isinstance(size, tuple):
            raise InputError(f"{convnet.name} takes square images. Received: image_size={size}")
        return convnet.training, convnet.image_format(size), convnet.crop_ratio, "bicubic"
    recipe = _recipe_by_name(given)
    sizes = {name: given[name] for name in ("image_size",) if name in given}
    if recipe is None:
        recipe = auto_recipe(_student_situation(given))
        sizes = _chosen_size(recipe, given)
    recipe = recipe.for_model(recipe.model)
    training = recipe.objective.values.get("teacher_recipe")
    training = training or default_teacher_recipe(given["teacher"], given.get("weights"))
    student = abstract_model(recipe.model, **{**recipe.model_values, **sizes})
    return training, student.image_format, recipe.crop_ratio, recipe.interpolation


def _student_situation(given: dict) -> Situation:
    """Returns what the recipe of a student is chosen by, whose teacher some options describe."""
    situation = _situation(given)
    if situation.weights is None:
        return situation
    # Those of the teacher: they are fine-tuned, and seen by a student of published size.
    return dataclasses.replace(
        situation, model=FINE_TUNED_MODEL, teacher=None, weights_are_of_student=False
    )
