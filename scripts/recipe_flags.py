"""The flags that the training commands share: the data, the recipe, and every value of it."""

import dataclasses
import re
import typing

import model_flags
from absl import flags

from keras_deit.data import Augmentation
from keras_deit.distillation.teachers import OUTPUTS, PIXELS
from keras_deit.recipes import RECIPES, STUDENT_ONLY, Optimisation, Recipe, get_recipe

_OWN = (
    *("model", "weights", "head_bias"),
    *("distillation", "alpha", "temperature", "teacher", "teacher_weights"),
    *("evaluation_crop_ratio", "evaluation_interpolation"),
    *("validation_epochs", "validate_agreement"),
)
TEACHER_OPTIMISATION = tuple(
    field.name for field in dataclasses.fields(Optimisation) if field.name not in STUDENT_ONLY
)


def define_fields(cls: type, names: tuple[str, ...] | None = None, prefix: str = "") -> None:
    """A flag for each field of a dataclass, with the help that its docstring has.

    Args:
        cls: a dataclass whose docstring lists its attributes.
        names: of the fields; all where None.
        prefix: put in front of the flags' names.
    """
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if names is None or field.name in names:
            _define(prefix + field.name, hints[field.name], _help(cls, field.name))


def define_data() -> None:
    """The flags that say which data and which recipe, and what a `.keras` teacher is."""
    flags.DEFINE_string(
        "dataset", "digits", '"digits", "folder:PATH", or a name of TensorFlow Datasets.'
    )
    flags.DEFINE_string("data_dir", None, "Where TensorFlow Datasets keeps its data.")
    flags.DEFINE_enum(
        "recipe",
        None,
        sorted(RECIPES),
        "How to train; by default digits for digits, else deit_distilled.",
    )
    flags.DEFINE_string(
        "teacher_pixels", None, f"What a .keras teacher takes: {', '.join(PIXELS)}."
    )
    flags.DEFINE_string(
        "teacher_outputs", None, f"What a .keras teacher gives: {' or '.join(OUTPUTS)}."
    )


def chosen_recipe(model: str | None = None) -> Recipe:
    """The recipe of `--recipe`, or the one for the dataset, as it is published for a model."""
    default = "digits" if flags.FLAGS.dataset == "digits" else "deit_distilled"
    recipe = get_recipe(flags.FLAGS.recipe or default)
    return recipe.for_model(model or recipe.model)


def define_overrides() -> None:
    """A flag for every value of a recipe and of its model."""
    define_fields(Recipe, _OWN)
    define_fields(Optimisation)
    define_fields(Augmentation)
    define_fields(Optimisation, TEACHER_OPTIMISATION, prefix="teacher_")
    flags.DEFINE_integer(
        "teacher_image_size", None, "Side in pixels of what a teacher that is trained takes."
    )
    model_flags.define("Value of the model in place of the recipe's or published one.")
    flags.adopt_module_key_flags(model_flags)


def overridden(recipe: Recipe) -> Recipe:
    """A recipe with what the command line says in place of its own values."""
    teacher_recipe = dataclasses.replace(
        recipe.teacher_recipe,
        optimisation=replaced(
            recipe.teacher_recipe.optimisation, TEACHER_OPTIMISATION, prefix="teacher_"
        ),
        # A teacher is trained on what it will be shown: the student's augmented images.
        augmentation=replaced(recipe.teacher_recipe.augmentation),
        image_size=flags.FLAGS.teacher_image_size or recipe.teacher_recipe.image_size,
    )
    recipe = dataclasses.replace(
        replaced(recipe, _OWN),
        model_values={**recipe.model_values, **model_flags.given()},
        optimisation=replaced(recipe.optimisation),
        augmentation=replaced(recipe.augmentation),
        teacher_recipe=teacher_recipe,
    )
    if recipe.distillation == "none" and flags.FLAGS.teacher is None:
        recipe = dataclasses.replace(recipe, teacher=None)
    return recipe


def replaced(values, names: tuple[str, ...] | None = None, prefix: str = ""):
    """A dataclass instance with the fields whose flags were given."""
    names = names or tuple(field.name for field in dataclasses.fields(values))
    given = {name: flags.FLAGS[prefix + name].value for name in names}
    changes = {name: value for name, value in given.items() if value is not None}
    if "warmup_epochs" in changes and "warmup_steps" not in changes:
        changes["warmup_steps"] = None
    if "epochs" in changes:
        # A shorter training keeps its warm-up's share.
        share = min(1, changes["epochs"] / values.epochs)
        shorter = {"warmup_epochs": values.warmup_epochs * share}
        if values.warmup_steps is not None:
            shorter["warmup_steps"] = round(values.warmup_steps * share)
        changes = {**shorter, **changes}
    return dataclasses.replace(values, **changes)


def _define(name: str, kind, text: str) -> None:
    kinds = [kind, *typing.get_args(kind)]
    if bool in kinds:
        flags.DEFINE_bool(name, None, text)
    elif int in kinds:
        flags.DEFINE_integer(name, None, text)
    elif str in kinds:
        flags.DEFINE_string(name, None, text)
    elif typing.get_origin(kind) is tuple:
        flags.DEFINE(_Bounds(), name, None, text, serializer=None)
    else:
        flags.DEFINE_float(name, None, text)


class _Bounds(flags.ArgumentParser):
    """Two numbers with a comma between them."""

    syntactic_help = "LOW,HIGH"

    def parse(self, argument):
        try:
            low, high = (float(number) for number in argument.split(","))
        except ValueError:
            raise ValueError("two numbers with a comma between them are wanted") from None
        return low, high

    def flag_type(self):
        return "two numbers"


def _help(cls: type, field: str) -> str:
    """What the docstring of a dataclass says of a field, on one line."""
    for names, text in re.findall(
        r"^        ([\w, ]+): (.+(?:\n {12}.+)*)", cls.__doc__, flags=re.MULTILINE
    ):
        if field in re.split(r", ", names):
            return " ".join(text.split())
    raise LookupError(f"The docstring of {cls.__name__} does not describe {field}.")
