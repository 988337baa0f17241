"""The values of a recipe that a user can set: by flags, in Python, and in recipes of her own."""

import dataclasses
import inspect
import logging
import typing

from keras_deit.core.errors import InputError
from keras_deit.core.image_format import NORMALIZATIONS
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
from keras_deit.recipes.option_kinds import (
    Option,
    checked_values,
    choices_of_hint,
    field_options,
    help_of,
    kind_of_default,
    kind_of_hint,
    unique_options,
)
from keras_deit.recipes.recipe import (
    AUTO,
    About,
    Recipe,
    Variant,
    add_recipe,
    get_recipe,
)
from keras_deit.recipes.teacher_recipe import (
    STUDENT_ONLY,
    TeacherRecipe,
    default_teacher_recipe,
)

_logger = logging.getLogger("keras_deit")

# The argument of an objective that holds the recipe of its teacher.
_TEACHER_RECIPE = "teacher_recipe"

_RECIPE_FIELDS = (
    *("model", "weights", "head_bias"),
    *("evaluation_crop_ratio", "evaluation_interpolation", "validation_epochs"),
)
# The share of the minutes of a training that its teacher gets.
TEACHER_SHARE = 0.4
_STUDENT_AUGMENTATION = (
    *("mixup_alpha", "cutmix_alpha", "mix_probability", "mix_switch_probability", "mix_mode"),
    *("mix_partner", "erase_probability", "erase_mode", "erase_area", "erase_aspect"),
    "erase_count",
    *("label_smoothing", "repeated_augmentation"),
)
# What a teacher's recipe has besides optimization, augmentation, and what has an option of its own.
_TEACHER_VALUES = ("loss", "target_smoothing", "drop_path_rate")
TEACHER_FIELDS = tuple(
    field.name for field in dataclasses.fields(Optimization) if field.name not in STUDENT_ONLY
)


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
    minutes = "Minutes that the training of the teacher may take, instead of a number of steps."
    own = _TEACHER_VALUES if prefix else (*_TEACHER_VALUES, "train_image_size")
    return [
        *field_options(Optimization, TEACHER_FIELDS, prefix),
        *field_options(TeacherRecipe, own, prefix),
        Option("teacher_image_size", int, size),
        Option(f"{prefix}minutes", float, minutes),
    ]


def model_options() -> list[Option]:
    """Returns the values of all model families that do not follow from the data."""
    options = {}
    for name in list_models():
        for key, value in model_values(name).items():
            family = get_spec(name).family
            kind = "sides" if key == "image_size" else _kind(family, key, value)
            if kind is None:
                continue
            option = options.setdefault(
                key, Option(key, kind, f"Of the model: {help_of(family, key)}")
            )
            if {option.kind, kind} == {int, "numbers"}:
                # Models of stages have a number for each.
                options[key] = dataclasses.replace(option, kind="counts")
    # The initial bias of the heads is a value of the recipe, for every model; what is kept comes
    # from a pruning.
    for name in ("num_classes", "in_channels", "head_bias", "kept"):
        options.pop(name, None)
    normalization = Option(
        "normalization",
        str,
        "Of the model: mean and std of the images' channels, unless the weights have their own.",
        tuple(NORMALIZATIONS),
    )
    return [*options.values(), normalization]


def _kind(family: type, name: str, value) -> type | str | None:
    """Returns the kind of a model's value. One that is None by default says it by its type hint, or
    is a number."""
    parameter = inspect.signature(family.__init__).parameters.get(name)
    of_none = kind_of_hint(parameter.annotation) if parameter else None
    return kind_of_default(value, of_none or float)


def default_recipe(dataset: str) -> str:
    """Returns the name of the recipe for a dataset if none is given."""
    return "digits" if dataset == "digits" else AUTO


def pruning_recipe(dataset: str) -> str:
    """Returns the name of the recipe by which weights of no run are pruned if none is given: that
    of the published pruning is DeiT's."""
    return "digits" if dataset == "digits" else "deit"


def register_recipe(name: str, base: str = "deit", **values) -> Recipe:
    """Registers a recipe that differs from another one in some values.

    Args:
        name: for `train` and the commands.
        base: the recipe to start from. What it sets for some models holds for those too, except
            for the given values.
        **values: any value of a recipe, of its model or of its objective, by the name of its flag.

    Raises:
        InputError: there is no such recipe or value, or a value is out of range; or the name is
            that of a recipe of the package.
    """
    values = checked_values(values, recipe_options())
    recipe = apply_options(get_recipe(base), values)
    recipe = dataclasses.replace(
        recipe,
        name=name,
        model=get_spec(recipe.model).name,
        about=About(source=f"your own, from {base}", hardware=""),
        variants=tuple(_without(variant, values) for variant in recipe.variants),
    )
    add_recipe(recipe)
    return recipe


def _without(variant: Variant, values: dict) -> Variant:
    """Returns a variant without the given values and without its published result."""
    kept = {
        part: {name: v for name, v in getattr(variant, part).items() if name not in values}
        for part in ("model_values", "optimization", "augmentation")
    }
    if "evaluation_crop_ratio" in values:
        kept["evaluation_crop_ratio"] = None
    return dataclasses.replace(variant, **kept, expected="")


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

    A teacher is trained on what it sees later, the student's images, so values that change an image
    apply to it too. Those that mix, erase or repeat images are the student's alone: with another
    one the same teacher is used again.
    """
    own = {name: given[prefix + name] for name in TEACHER_FIELDS if prefix + name in given}
    minutes = given.get(f"{prefix}minutes", recipe.minutes)
    if minutes is None and prefix and "minutes" in given and not {"steps", "epochs"} & own.keys():
        minutes = TEACHER_SHARE * given["minutes"]
    values = {name: given[prefix + name] for name in _TEACHER_VALUES if prefix + name in given}
    if not prefix and "train_image_size" in given:
        values["train_image_size"] = given["train_image_size"]
    if prefix:
        given = {k: v for k, v in given.items() if k not in _STUDENT_AUGMENTATION}
    return dataclasses.replace(
        recipe,
        optimization=_replaced(recipe.optimization, own),
        augmentation=_replaced(recipe.augmentation, given),
        image_size=given.get("teacher_image_size", recipe.image_size),
        minutes=minutes,
        **values,
    )


def _replaced(values, given: dict):
    """Returns a dataclass instance with the fields that are given."""
    names = [field.name for field in dataclasses.fields(values)]
    changes = {name: given[name] for name in names if name in given}
    if "epochs" in changes and "steps" in changes:
        raise InputError("Give epochs or steps, not both.")
    if "steps" in changes and values.warmup_steps is not None:
        # Likewise for fewer steps than the warm-up is made for.
        shorter = min(values.warmup_steps, changes["steps"] // 5)
        changes = {"warmup_steps": shorter, **changes}
    if "warmup_epochs" in changes and "warmup_steps" not in changes:
        changes["warmup_steps"] = None
    if "epochs" in changes:
        # In a shorter training the parts of the schedule are shorter in proportion.
        share = min(1, changes["epochs"] / values.epochs)
        shorter = {"warmup_epochs": values.warmup_epochs * share}
        if values.schedule == "step":
            shorter["decay_epochs"] = values.decay_epochs * share
        if values.warmup_steps is not None:
            shorter["warmup_steps"] = round(values.warmup_steps * share)
        changes = {"steps": None, **shorter, **changes}
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
                    f"{getattr(known.kind, '__name__', known.kind)}, as in another objective."
                )
    return list(options.values())


def _values_of(cls: type[Objective]) -> list[Option]:
    """Returns the options of an objective; those of a teacher's recipe come by themselves."""
    hints = typing.get_type_hints(cls.__init__)
    options = []
    for name, default in cls.defaults().items():
        kind = kind_of_hint(hints[name]) if name in hints else kind_of_default(default, str)
        if name != _TEACHER_RECIPE and kind is not None:
            flag = cls.flag_names.get(name, name)
            options.append(Option(flag, kind, help_of(cls, name), choices_of_hint(hints.get(name))))
    return options


def _objective(objective: Objective, given: dict) -> Objective:
    check_teacher_is_used(given)
    old, cls = type(objective), _objective_class(objective, given)
    defaults = cls.defaults()
    # In another kind of objective an argument of the same name means something else.
    related = issubclass(cls, old) or issubclass(old, cls)
    values = {n: v for n, v in objective.values.items() if n in defaults} if related else {}
    for name in defaults:
        flag = cls.flag_names.get(name, name)
        if flag in given:
            values[name] = given[flag]
    is_new = type(objective) is not cls or (given.get("teacher") and values.get("kind") == "none")
    if cls is Distillation and "distillation" not in given and is_new:
        # A teacher that is named is learned from.
        values["kind"] = "hard"
    if _TEACHER_RECIPE in defaults:
        base = values.get(_TEACHER_RECIPE)
        if base is None or ("teacher" in given and objective.teacher_request is None):
            base = default_teacher_recipe(values.get("teacher"), values.get("teacher_weights"))
        values[_TEACHER_RECIPE] = teacher_recipe(base, given)
    _warn_of_unused(cls, given)
    return cls(**values)


def check_teacher_is_used(given: dict) -> None:
    """Checks that options do not name a teacher that nothing is distilled from.

    Raises:
        InputError: they do.
    """
    teacher = given.get("teacher")
    if teacher is None or given.get("distillation") != "none" or given.get("validate_agreement"):
        return
    raise InputError(
        f"--distillation none learns from no teacher, but --teacher {teacher} names one: leave one "
        "of the two out, or add --validate_agreement to log how often the student agrees with it."
    )


def _objective_class(objective: Objective, given: dict) -> type[Objective]:
    if given.get("objective") is not None:
        return get_objective(given["objective"])
    kind, cls = given.get("distillation"), type(objective)
    if cls not in (Supervised, Distillation):
        return cls
    if given.get("teacher") is None and kind in (None, "none"):
        return cls if kind is None else Supervised
    return Distillation


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
