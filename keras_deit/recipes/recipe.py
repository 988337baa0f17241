"""What a recipe consists of."""

import dataclasses
import fnmatch

from keras_deit.core.errors import InputError
from keras_deit.core.image_format import ImageFormat
from keras_deit.core.registry import Registry
from keras_deit.data import Augmentation
from keras_deit.data.transforms import check_evaluation_view
from keras_deit.models import get_spec, list_models
from keras_deit.objectives import Objective, objective_name
from keras_deit.optimizers import Optimization, require

# The name of the recipe that is chosen for the data.
AUTO = "auto"
# The fields of an optimization that the training of a teacher does not have.
STUDENT_ONLY = (
    "layer_decay",
    "trainable",
    "training_mode",
    "ema_decay",
    "ema_warmup",
    "accumulation_steps",
)


@dataclasses.dataclass(frozen=True)
class TeacherRecipe:
    """How a teacher is trained if no trained one is given.

    Attributes:
        optimization: optimization of the teacher; the fields in `STUDENT_ONLY` keep their defaults.
        augmentation: augmentation of the teacher's training images.
        image_size: side in pixels of the teacher's images; None for the student's size.
        batch_norm_momentum: momentum of the moving statistics of the teacher's batch normalization;
            None for the momentum of the model. With Keras's 0.99 the statistics do not converge in
            a training of a few hundred steps.
        minutes: minutes that the training may take, whatever the number of steps; None for the
            steps of the optimization.
    """

    optimization: Optimization
    augmentation: Augmentation
    image_size: int | None = None
    batch_norm_momentum: float | None = None
    minutes: float | None = None

    def __post_init__(self):
        for field in STUDENT_ONLY:
            default = Optimization.__dataclass_fields__[field].default
            value = getattr(self.optimization, field)
            require(f"{field} of a teacher's training", value, value == default, repr(default))

    def model_size(self, student_format: ImageFormat) -> tuple[int, int]:
        """Returns height and width in pixels of the images of a teacher that is built by name."""
        if self.image_size is not None:
            return self.image_size, self.image_size
        return student_format.height, student_format.width


# For a teacher that starts from trained weights.
FINE_TUNING_TEACHER_RECIPE = TeacherRecipe(
    Optimization(epochs=30, batch_size=256, learning_rate=2e-4, warmup_epochs=2, weight_decay=0.05),
    Augmentation(auto_augment="rand-m9-mstd0.5-inc1", erase_probability=0.25),
)


# For little data: images are moved and colored a little, but neither mixed nor mirrored.
SMALL_DATA_AUGMENTATION = Augmentation(
    crop="none",
    flip_probability=0.0,
    auto_augment="affine-m5",
    color_jitter=0.3,
    mixup_alpha=0.0,
    cutmix_alpha=0.0,
    interpolation="bilinear",
    geometric_interpolation="bilinear",
)


# For one that starts from random weights: a higher learning rate, and statistics of batch
# normalization that follow within a few hundred steps.
FROM_SCRATCH_TEACHER_RECIPE = TeacherRecipe(
    Optimization(
        epochs=60,
        batch_size=64,
        learning_rate=2e-3,
        learning_rate_scaling=False,
        warmup_epochs=3,
        min_learning_rate=1e-6,
        weight_decay=0.05,
        clip_norm=1.0,
    ),
    SMALL_DATA_AUGMENTATION,
    batch_norm_momentum=0.9,
)


# The ends of the names of teachers with trained weights.
_TRAINED = ("_imagenet", "_classifier", "_coco", ".keras")


def default_teacher_recipe(teacher: str | None, weights: str | None = None) -> TeacherRecipe:
    """Returns the recipe of a teacher that has none.

    Args:
        teacher: name of the teacher.
        weights: initial weights of a keras.applications teacher.
    """
    trained = weights is not None or (teacher or "").lower().endswith(_TRAINED)
    return FINE_TUNING_TEACHER_RECIPE if trained else FROM_SCRATCH_TEACHER_RECIPE


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
    RECIPES.add(recipe.name, recipe)


def list_recipes() -> list[str]:
    """Returns the names that `get_recipe` and the commands know, in the order of registration."""
    return list(RECIPES)


def get_recipe(name: str) -> Recipe:
    """Returns a recipe by name.

    Raises:
        InputError: there is no such recipe.
    """
    if name == AUTO:
        raise InputError(
            f"The recipe {AUTO!r} is chosen for the data, so it has no values before: "
            "keras-deit plan --dataset ... prints them and the reasons."
        )
    return RECIPES[_OLD_NAMES.get(name, name)]


def recipe_table(recipe: Recipe) -> str:
    """Returns every value of a recipe, one on each line; what differs by model at the end."""
    about = dataclasses.asdict(recipe.about)
    values = recipe.objective.values
    nested = {name: v for name, v in values.items() if dataclasses.is_dataclass(v)}
    parts = {
        recipe.name: {
            "source": about["source"],
            "hardware": about["hardware"],
            "expected": recipe.expected,
        },
        "model": {
            "model": recipe.model,
            "model_values": recipe.model_values,
            "fine_tunes": recipe.fine_tunes,
            "weights": recipe.weights,
            "head_bias": recipe.head_bias,
        },
        f"objective {objective_name(type(recipe.objective))}": {
            name: value for name, value in values.items() if name not in nested
        },
        "optimization": {
            **dataclasses.asdict(recipe.optimization),
            "peak_learning_rate": recipe.optimization.peak_learning_rate,
            "gradient_clip": recipe.optimization.gradient_clip,
        },
        "augmentation": dataclasses.asdict(recipe.augmentation),
        "evaluation": {
            "evaluation_crop_ratio": recipe.evaluation_crop_ratio,
            "evaluation_interpolation": recipe.evaluation_interpolation,
            "validation_epochs": recipe.validation_epochs,
            "monitor": recipe.monitor,
        },
    }
    for name, value in nested.items():
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        for field, inner in fields.items():
            if dataclasses.is_dataclass(inner):
                parts[f"{name}, {field}"] = dataclasses.asdict(inner)
        parts[name] = {k: v for k, v in fields.items() if not dataclasses.is_dataclass(v)}
    lines = [line for title, rows in parts.items() for line in (title, *_rows(rows), "")]
    for variant in recipe.variants:
        rows = {**variant.model_values, **variant.optimization, **variant.augmentation}
        if variant.evaluation_crop_ratio is not None:
            rows["evaluation_crop_ratio"] = variant.evaluation_crop_ratio
        if variant.expected:
            rows["expected"] = variant.expected
        lines += [f"for {variant.pattern}", *_rows(rows), ""]
    return "\n".join(lines[:-1])


def _rows(values: dict) -> list[str]:
    return [f"  {name:24} {_text(value)}" for name, value in values.items()]


def _text(value) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items()) or "-"
    if isinstance(value, (tuple, list)):
        return " to ".join(map(_text, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
