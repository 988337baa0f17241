"""The values of a recipe that a user can set: by flags, in Python, and in recipes of her own."""

import dataclasses
import inspect
import logging
import re
import typing

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.data import Augmentation
from keras_deit.models import get_spec, list_models, model_values
from keras_deit.objectives import (
    Distillation,
    Objective,
    Supervised,
    get_objective,
    registered_objectives,
)
from keras_deit.optimizers import Optimization
from keras_deit.recipes.recipe import (
    DEFAULT_TEACHER_RECIPE,
    STUDENT_ONLY,
    Recipe,
    TeacherRecipe,
    add_recipe,
    get_recipe,
)

_logger = logging.getLogger("keras_deit")

# The argument of an objective that holds the recipe of its teacher.
_TEACHER_RECIPE = "teacher_recipe"

_RECIPE_FIELDS = (
    *("model", "weights", "head_bias"),
    *("evaluation_crop_ratio", "evaluation_interpolation", "validation_epochs"),
)
TEACHER_FIELDS = tuple(
    field.name for field in dataclasses.fields(Optimization) if field.name not in STUDENT_ONLY
)


@dataclasses.dataclass(frozen=True)
class Option:
    """A value that a user can set.

    Attributes:
        name: of the value; a flag has the same.
        kind: bool, int, float or str; "bounds" for two numbers; "sides" for a side in pixels or
            (height, width).
        help: what it is.
        choices: all values that are possible; None for any.
        default: what it is if it is not given; None for the recipe's value.
        old_name: that it had in earlier versions and still has.
        required: whether a command needs it.
        repeated: whether it can be given several times.
        minimum: the smallest value that is possible; None for any.
    """

    name: str
    kind: type | str
    help: str
    choices: tuple[str, ...] | None = None
    default: object = None
    old_name: str | None = None
    required: bool = False
    repeated: bool = False
    minimum: int | None = None


def recipe_options() -> list[Option]:
    """Returns every value of a recipe, of its model and of its objective.

    Raises:
        InputError: two parts have a value of the same name.
    """
    return unique_options(
        [
            *field_options(Recipe, _RECIPE_FIELDS),
            *_objective_options(),
            *field_options(Optimization),
            *field_options(Augmentation),
            *teacher_options(prefix="teacher_"),
            *model_options(),
        ]
    )


def teacher_options(prefix: str = "") -> list[Option]:
    """Returns the values of a teacher's training."""
    size = "Side in pixels of the images of a teacher that is trained."
    return [
        *field_options(Optimization, TEACHER_FIELDS, prefix),
        Option("teacher_image_size", int, size),
    ]


def model_options() -> list[Option]:
    """Returns the values of all model families, without the number of classes."""
    options = {}
    for name in list_models():
        for key, value in model_values(name).items():
            # A value that is None by default, such as LayerScale's, is a number otherwise.
            kind = "sides" if key == "image_size" else _kind_of_value(value) or float
            help_text = f"Of the model: {_help(get_spec(name).family, key)}"
            options.setdefault(key, Option(key, kind, help_text))
    options.pop("num_classes", None)
    return list(options.values())


def field_options(
    cls: type, names: tuple[str, ...] | None = None, prefix: str = ""
) -> list[Option]:
    """Returns an option for each field of a dataclass, with the help of its docstring.

    Args:
        cls: a dataclass whose docstring lists its attributes.
        names: of the fields; None for all.
        prefix: of the options' names, such as "teacher_".
    """
    hints = typing.get_type_hints(cls)
    owner = f"Of the {prefix.removesuffix('_')}: " if prefix else ""
    return [
        Option(prefix + field.name, _kind(hints[field.name]), owner + _help(cls, field.name))
        for field in dataclasses.fields(cls)
        if names is None or field.name in names
    ]


def unique_options(options: list[Option]) -> list[Option]:
    """Checks that no two options have the same name.

    Raises:
        InputError: two have.
    """
    names = [option.name for option in options]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"Two parts of a training have a value named {', '.join(twice)}; rename the one of "
            "your model or objective."
        )
    return options


def default_recipe(dataset: str) -> str:
    """Returns the name of the recipe for a dataset if none is given."""
    return "digits" if dataset == "digits" else "deit_distilled"


def register_recipe(name: str, base: str = "deit", **values) -> Recipe:
    """Registers a recipe that differs from another one in some values.

    Args:
        name: for `train` and the commands.
        base: the recipe to start from.
        **values: any value of a recipe, of its model or of its objective, by the name of its flag.

    Raises:
        InputError: there is no such recipe or value, or a value is out of range.
    """
    recipe = get_recipe(base)
    model = values.get("model", recipe.model)
    recipe = apply_options(recipe.for_model(get_spec(model).name), values)
    recipe = dataclasses.replace(recipe, name=name)
    add_recipe(recipe)
    return recipe


def apply_options(recipe: Recipe, given: dict) -> Recipe:
    """Returns a recipe with some values changed.

    Args:
        recipe: for one model.
        given: by the name of the option; those of other parts of a training are ignored.

    Raises:
        InputError: a value is out of range, or the values do not fit together.
    """
    own_values = {o.name: given[o.name] for o in model_options() if o.name in given}
    objective = _objective(recipe.objective, given)
    return dataclasses.replace(
        recipe,
        **{name: given[name] for name in _RECIPE_FIELDS if name in given},
        model_values={**recipe.model_values, **own_values},
        optimization=_replaced(recipe.optimization, given),
        augmentation=_replaced(recipe.augmentation, given),
        objective=objective,
    )


def teacher_recipe(recipe: TeacherRecipe, given: dict, prefix: str = "teacher_") -> TeacherRecipe:
    """Returns a teacher's recipe with some values changed.

    A teacher is trained on what it sees later, the student's augmented images, so values of the
    augmentation apply to it too.
    """
    own = {name: given[prefix + name] for name in TEACHER_FIELDS if prefix + name in given}
    return dataclasses.replace(
        recipe,
        optimization=_replaced(recipe.optimization, own),
        augmentation=_replaced(recipe.augmentation, given),
        image_size=given.get("teacher_image_size", recipe.image_size),
    )


def _replaced(values, given: dict):
    """Returns a dataclass instance with the fields that are given."""
    names = [field.name for field in dataclasses.fields(values)]
    changes = {name: given[name] for name in names if name in given}
    if "warmup_epochs" in changes and "warmup_steps" not in changes:
        changes["warmup_steps"] = None
    if "epochs" in changes:
        # In a shorter training the warm-up is shorter in proportion.
        share = min(1, changes["epochs"] / values.epochs)
        shorter = {"warmup_epochs": values.warmup_epochs * share}
        if values.warmup_steps is not None:
            shorter["warmup_steps"] = round(values.warmup_steps * share)
        changes = {**shorter, **changes}
    return dataclasses.replace(values, **changes)


def _objective_options() -> list[Option]:
    classes = registered_objectives()
    text = "What is trained, instead of the recipe's objective."
    options = {"objective": Option("objective", str, text, tuple(classes))}
    for name, cls in classes.items():
        for option in _values_of(cls):
            known = options.setdefault(option.name, option)
            if known.kind != option.kind:
                raise InputError(
                    f"The value {option.name!r} of the objective {name} should be of the type "
                    f"{known.kind.__name__}, as in another objective."
                )
    return list(options.values())


def _values_of(cls: type[Objective]) -> list[Option]:
    """Returns the options of an objective; those of a teacher's recipe come by themselves."""
    hints = typing.get_type_hints(cls.__init__)
    return [
        Option(
            cls.flag_names.get(name, name),
            _kind(hints[name]) if name in hints else _kind_of_value(default) or str,
            _help(cls, name),
        )
        for name, default in cls.defaults().items()
        if name != _TEACHER_RECIPE
    ]


def _objective(objective: Objective, given: dict) -> Objective:
    cls = _objective_class(objective, given)
    defaults = cls.defaults()
    values = {name: value for name, value in objective.values.items() if name in defaults}
    for name in defaults:
        flag = cls.flag_names.get(name, name)
        if flag in given:
            values[name] = given[flag]
    if cls is Distillation and "distillation" not in given and type(objective) is not cls:
        # A teacher that nothing is distilled from is compared with.
        values["kind"] = "none" if "teacher" in given and "objective" not in given else "hard"
    if _TEACHER_RECIPE in defaults:
        base = values.get(_TEACHER_RECIPE) or DEFAULT_TEACHER_RECIPE
        values[_TEACHER_RECIPE] = teacher_recipe(base, given)
    _warn_of_unused(cls, given)
    return cls(**values)


def _objective_class(objective: Objective, given: dict) -> type[Objective]:
    if given.get("objective") is not None:
        return get_objective(given["objective"])
    kind, cls = given.get("distillation"), type(objective)
    if not issubclass(cls, Supervised):
        return cls
    if kind == "none" and given.get("teacher") is None:
        return Supervised if cls is Distillation else cls
    wants_teacher = kind is not None or given.get("teacher") is not None
    return Distillation if wants_teacher and not issubclass(cls, Distillation) else cls


def _warn_of_unused(cls: type[Objective], given: dict) -> None:
    used = {option.name for option in _values_of(cls)} | {"objective", "distillation"}
    teachers = {option.name for option in teacher_options("teacher_")}
    if _TEACHER_RECIPE in cls.defaults():
        used |= teachers
    known = {option.name for option in _objective_options()} | teachers
    unused = sorted(name for name in given if name in known - used)
    if unused:
        _logger.warning(
            "The objective %s does not use %s.", cls.__name__.lower(), ", ".join(unused)
        )


def check_names(given: dict, options: list[Option]) -> None:
    """Checks that all names are options, and that values are among the choices.

    Raises:
        InputError: one is not; close names are listed.
    """
    known = {option.name: option for option in options}
    for name, value in given.items():
        if name not in known:
            raise unknown_name("option", name, known)
        choices = known[name].choices
        if choices is not None and value is not None and value not in choices:
            raise unknown_name(name, value, choices)


def _kind(hint) -> type | str:
    kinds = [hint, *typing.get_args(hint)]
    for kind in (bool, int, str):
        if kind in kinds and typing.get_origin(hint) is not tuple:
            return kind
    return "bounds" if typing.get_origin(hint) is tuple else float


def _kind_of_value(value) -> type | None:
    return type(value) if isinstance(value, (bool, int, float, str)) else None


def _help(cls: type, name: str) -> str:
    """Returns what the docstring of a class says about an argument or attribute, on one line."""
    for names, text in re.findall(
        r"^    ([\w, ]+): (.+(?:\n {8}.+)*)", inspect.getdoc(cls) or "", flags=re.MULTILINE
    ):
        if name in re.split(r", ", names):
            return " ".join(text.split())
    return f"Value of {cls.__name__}."
