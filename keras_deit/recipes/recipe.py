"""What a recipe consists of."""

import dataclasses
import fnmatch

from keras_deit.core.errors import InputError
from keras_deit.core.registry import Registry
from keras_deit.data import Augmentation
from keras_deit.data.transforms import check_evaluation_view
from keras_deit.models import get_spec, list_models
from keras_deit.objectives import Objective
from keras_deit.optimizers import Optimization, require
from keras_deit.recipes.teacher_recipe import CONVNET_RECIPES, refuse_convnet_recipe

# The name of the recipe that is chosen for the data.
AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class Variant:
    """What a recipe sets for some of its models.

    Attributes:
        pattern: pattern of the models' names, as in a shell.
        model_values, optimization, augmentation: by field, instead of the recipe's.
        evaluation_crop_ratio: instead of the recipe's; None for that.
        expected: the published result for these models, or the name of the model whose published
            result it is.
    """

    pattern: str
    model_values: dict = dataclasses.field(default_factory=dict)
    optimization: dict = dataclasses.field(default_factory=dict)
    augmentation: dict = dataclasses.field(default_factory=dict)
    evaluation_crop_ratio: float | None = None
    expected: str = ""


@dataclasses.dataclass(frozen=True)
class About:
    """What is known about a recipe, for people; nothing is computed from it.

    Attributes:
        source: where it is published.
        hardware: what it was run on and for how long, if that is known.
        training: which of the published results of the models it leads to, see
            `keras_deit.models.Result`; None if they do not list it.
        models: patterns of the models' names that have this result.
        expected: a published result that the models do not list, or what has to be added.
        reasons: why a recipe was chosen, if it was chosen for the data.
    """

    source: str
    hardware: str
    training: str | None = None
    models: tuple[str, ...] = ()
    expected: str = ""
    reasons: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A way to train a model. It is data: no code depends on its name.

    Attributes:
        name: name of the recipe.
        about: source, hardware and expected result of the recipe.
        model: name of the model, one of those that `keras-deit models` lists.
        model_values: values of the model that differ from the published ones.
        optimization: optimization of the model.
        augmentation: augmentation of the training images.
        objective: objective of the training, such as `Supervised()` or `Distillation(teacher=...)`.
        variants: values that differ between models.
        fine_tunes: whether the training starts from trained weights.
        weights: trained weights to start from: a file, or hf://OWNER/NAME on Hugging Face.
        head_bias: initial bias of the heads of a model without trained weights, and of the new
            heads that every model gets if the recipe fine-tunes; their kernels are then 0. By
            default the model's own initialization, or the trained heads.
        evaluation_crop_ratio: crop ratio of the evaluation: the fraction of the resized image's
            side that the center crop keeps, in (0, 1]. By default the published one of the model.
        evaluation_interpolation: interpolation of resizing in the evaluation: "bicubic" or
            "bilinear". By default the published one of the model.
        validation_epochs: number of epochs from one validation to the next.
        monitor: figure of the validation that chooses the best weights; by default that of the
            objective.
    """

    name: str
    about: About
    model: str
    model_values: dict
    optimization: Optimization
    augmentation: Augmentation
    objective: Objective
    variants: tuple[Variant, ...] = ()
    fine_tunes: bool = False
    weights: str | None = None
    head_bias: float | None = None
    evaluation_crop_ratio: float | None = None
    evaluation_interpolation: str | None = None
    validation_epochs: int = 1
    monitor: str | None = None

    def __post_init__(self):
        crop_ratio, interpolation = self.evaluation_crop_ratio, self.evaluation_interpolation
        check_evaluation_view(
            1.0 if crop_ratio is None else crop_ratio,
            "bicubic" if interpolation is None else interpolation,
        )
        self.objective.check(self.augmentation)
        value = self.validation_epochs
        require("validation_epochs", value, value >= 1, "1 or more")

    def for_model(self, model: str) -> "Recipe":
        """Returns the recipe for one model, with its variants applied."""
        chosen = [v for v in self.variants if fnmatch.fnmatchcase(model, v.pattern)]
        recipe = dataclasses.replace(self, model=model, variants=())
        for variant in chosen:
            crop_ratio = variant.evaluation_crop_ratio or recipe.evaluation_crop_ratio
            about = recipe.about
            if variant.expected in list_models():
                about = dataclasses.replace(about, models=(variant.expected,))
            elif variant.expected:
                about = dataclasses.replace(about, models=(), expected=variant.expected)
            recipe = dataclasses.replace(
                recipe,
                about=about,
                model_values={**recipe.model_values, **variant.model_values},
                optimization=dataclasses.replace(recipe.optimization, **variant.optimization),
                augmentation=dataclasses.replace(recipe.augmentation, **variant.augmentation),
                evaluation_crop_ratio=crop_ratio,
            )
        return recipe

    @property
    def expected(self) -> str:
        """The published results in words: of the models that list them, and what is added."""
        about = self.about
        names = [name for pattern in about.models for name in list_models(pattern)]
        found = {name: get_spec(name).result(about.training) for name in names}
        lines = [f"{name} {result.top1:.1f}" for name, result in found.items() if result]
        return "; ".join(filter(None, (", ".join(lines), about.expected)))

    @property
    def crop_ratio(self) -> float:
        """The crop ratio of the evaluation: the recipe's, or the published one of the model."""
        own = self.evaluation_crop_ratio
        return get_spec(self.model).crop_ratio if own is None else own

    @property
    def interpolation(self) -> str:
        """The interpolation of the evaluation, likewise."""
        return self.evaluation_interpolation or get_spec(self.model).interpolation


RECIPES: Registry[Recipe] = Registry("recipe")
# Names that recipes had in earlier versions.
_OLD_NAMES = {"augreg_regularised": "augreg_regularized"}


def add_recipe(recipe: Recipe) -> None:
    """Registers a recipe, in the place of one that has the same name.

    Raises:
        InputError: the name is that of a recipe of the package.
    """
    if recipe.name == AUTO:
        raise InputError(f"The name {AUTO!r} stands for a recipe that is chosen for the data.")
    if recipe.name in CONVNET_RECIPES:
        raise InputError(f"The name {recipe.name!r} is that of a recipe of a teacher.")
    RECIPES.add(recipe.name, recipe)


def list_recipes() -> list[str]:
    """Returns the names that `get_recipe` and the commands know, in the order of registration."""
    return list(RECIPES)


def get_recipe(name: str) -> Recipe:
    """Returns a recipe by name.

    Raises:
        InputError: there is no such recipe, or it is one of a teacher.
    """
    if name == AUTO:
        raise InputError(
            f"The recipe {AUTO!r} is chosen for the data, so it has no values before: "
            "keras-deit plan --dataset ... prints them and the reasons."
        )
    refuse_convnet_recipe(name)
    return RECIPES[_OLD_NAMES.get(name, name)]
