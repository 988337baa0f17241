"""The recipe that is chosen for a dataset of the user's own, with its reasons.

The values for little data come from single runs on 500 to 1,000 images of 28 and 48 pixels;
docs/recipes.md has the figures, and says which of the values they do not support.
"""

import dataclasses
import importlib.util

from keras_deit.core.errors import InputError
from keras_deit.data import Augmentation, DatasetSize
from keras_deit.models import get_spec, model_values
from keras_deit.objectives import Distillation, Objective, Supervised
from keras_deit.optimizers import Optimization
from keras_deit.pretrained.source_models import SourceModel, source_model
from keras_deit.recipes.recipe import (
    AUTO,
    About,
    Recipe,
    get_recipe,
)
from keras_deit.recipes.teacher_recipe import (
    FROM_SCRATCH_TEACHER_RECIPE,
    SMALL_DATA_AUGMENTATION,
    default_teacher_recipe,
)

# With as many images the published recipes for ImageNet are the better start.
_LARGE_DATA = 200_000
# The largest side in pixels that is chosen: without and with an accelerator.
_LARGEST_SIDE = {False: 64, True: 224}
# The side of a patch is chosen so that there are at most so many in a row.
_MAX_GRID = 8
# So many if the side is given and no larger patch divides it.
_LARGEST_GRID = 12
# A teacher sees images that are not larger than this at twice their side.
_SMALL_SIDE = 64
_MODEL = "deit_tiny_patch16_224"
_DISTILLED_MODEL = "deit_tiny_distilled_patch16_224"
_TEACHER = "kerascv:csp_darknet_tiny"
# The student of a teacher that is fine-tuned from trained weights.
FINE_TUNED_MODEL = _DISTILLED_MODEL


@dataclasses.dataclass(frozen=True)
class Situation:
    """What the choice of a recipe depends on.

    Attributes:
        data: size of the dataset.
        has_accelerator: whether there is a GPU or TPU.
        weights: trained weights to start from, if they are given.
        model: name of the model, if it is given.
        image_size: side of the images, if it is given.
        patch_size: side of the patches, if it is given.
        teacher: name of the teacher, if it is given; then it is distilled from.
        teacher_weights: weights that the teacher starts from, if they are given.
        weights_are_of_student: whether the weights are of the model that the recipe is for, and not
            of a teacher for it.
    """

    data: DatasetSize
    has_accelerator: bool
    weights: str | None = None
    model: str | None = None
    image_size: int | tuple[int, int] | None = None
    patch_size: int | None = None
    teacher: str | None = None
    teacher_weights: str | None = None
    weights_are_of_student: bool = True


def with_auto_teacher(given: dict) -> tuple[dict, tuple[str, ...]]:
    """Returns options with a name instead of the teacher "auto", and why it is that.

    It is trained on the data, and left out if it is hardly better than a guess then.
    """
    if given.get("teacher") != AUTO:
        return given, ()
    if importlib.util.find_spec("keras_cv") is None:
        others = {name: value for name, value in given.items() if name != "teacher"}
        reason = "no teacher: keras-cv is not installed, pip install 'keras-deit[tensorflow]'"
        return {**others, "distillation": "none"}, (reason,)
    reason = f"the teacher is {_TEACHER}, a convolutional network that is trained on the data first"
    return {"teacher_optional": True, **given, "teacher": _TEACHER}, (reason,)


def auto_recipe(situation: Situation) -> Recipe:
    """Returns the recipe for a dataset; `about.reasons` says why it is this one.

    Raises:
        InputError: weights are given that do not say which model they are of, and no model.
    """
    if situation.weights is not None:
        return _fine_tuning(situation)
    if situation.data.examples >= _LARGE_DATA:
        return _large_data(situation)
    return _from_scratch(situation)


def _about(hardware: str, *reasons: str) -> About:
    return About(source="chosen for the data", hardware=hardware, reasons=reasons)


def _large_data(situation: Situation) -> Recipe:
    teacher = situation.teacher
    recipe = get_recipe("deit_distilled" if teacher else "deit")
    objective, how = recipe.objective, "; --recipe deit_distilled adds its teacher"
    if teacher:
        objective = objective.copy(
            teacher=teacher,
            teacher_weights=situation.teacher_weights,
            teacher_recipe=default_teacher_recipe(teacher, situation.teacher_weights),
        )
        how = ", but with the given teacher, whose decisions are distilled"
    reason = (
        f"{situation.data.examples:,} images are enough for the recipe {recipe.name}, which is "
        f"used as it was published{how}"
    )
    about = _about(get_recipe("deit").about.hardware, reason)
    return dataclasses.replace(recipe, name=AUTO, about=about, objective=objective)


def _fine_tuning(situation: Situation) -> Recipe:
    model, values, why = _model_of_weights(situation)
    dropping = {"drop_path_rate": 0.1} if "drop_path_rate" in model_values(model) else {}
    side = situation.image_size or {**model_values(model), **values}.get("image_size") or 224
    steps = _clipped(10 * situation.data.examples // 64, 500, 20_000)
    return Recipe(
        name=AUTO,
        about=_about(
            "",
            "weights are given, so they are fine-tuned: a small learning rate that is smaller in "
            "lower layers, and crops that keep most of the image",
            why,
            f"{steps:,} steps of 64 images, about ten epochs and at least 500 steps",
            *([_teacher_reason(situation.teacher)] if situation.teacher else []),
        ),
        model=model,
        model_values={**values, **dropping},
        optimization=Optimization(
            steps=steps,
            batch_size=64,
            learning_rate=2e-4,
            learning_rate_scaling=False,
            warmup_steps=steps // 10,
            min_learning_rate=1e-6,
            clip_norm=1.0,
            layer_decay=0.75,
        ),
        augmentation=Augmentation(
            crop_scale=(0.35, 1.0), mixup_alpha=0.0, cutmix_alpha=0.0, color_jitter=0.2
        ),
        objective=_objective(situation, _larger(side)),
        weights=situation.weights,
    )


def _model_of_weights(situation: Situation) -> tuple[str, dict, str]:
    """Returns the model that takes given weights, its values, and why it is that one.

    Raises:
        InputError: no model is given, and the weights do not say which one they are of.
    """
    known = _known_model(situation) if situation.weights_are_of_student else None
    name = situation.model or (known and known.name)
    if name is None:
        raise InputError(
            f"{situation.weights} does not say which model it is of; give it with --model."
        )
    values = known.values_for(get_spec(name).name) if known else {}
    # A model that is given has its own size, unless its patches are those of the weights.
    if situation.image_size is not None or (situation.model and values.keys() == {"image_size"}):
        values.pop("image_size", None)
    shown = ", ".join(f"{key} {value}" for key, value in values.items())
    origin = f"as given, with values of {situation.weights}"
    if situation.model is None:
        origin = f"that of {situation.weights}"
    elif not shown:
        origin = "as given"
    return name, values, f"the model is {name}, {origin}{shown and ': '}{shown}"


def _known_model(situation: Situation) -> SourceModel | None:
    try:
        return source_model(situation.weights)
    except InputError:
        # With a model a plan needs no weights; the training says what is wrong with them.
        if situation.model is None:
            raise
        return None


def _from_scratch(situation: Situation) -> Recipe:
    examples = situation.data.examples
    steps = _clipped(40 * examples // 32, 4_000, 40_000)
    values, reasons = {}, []
    if situation.model is None:
        values, reasons = _small_model(situation)
    return Recipe(
        name=AUTO,
        about=_about(
            "two CPU cores, some minutes",
            f"{examples:,} images are little to train a transformer from scratch",
            *reasons,
            "images are rotated, scaled, sheared, moved and colored a little, but not mixed, which "
            "was no better on validation, and never mirrored, since that can change what they "
            "show: --flip_probability 0.5 for photographs",
            f"{steps:,} steps of 32 images; --minutes M does as many as fit into that time",
            _teacher_reason(situation.teacher),
        ),
        model=situation.model or (_DISTILLED_MODEL if situation.teacher else _MODEL),
        model_values=values,
        optimization=Optimization(
            steps=steps,
            batch_size=min(32, examples),
            learning_rate=1e-3,
            learning_rate_scaling=False,
            warmup_steps=200,
            min_learning_rate=1e-6,
            clip_norm=1.0,
        ),
        augmentation=SMALL_DATA_AUGMENTATION,
        objective=_objective(situation, _side(situation)[0]),
        evaluation_crop_ratio=1.0,
        evaluation_interpolation="bilinear",
    )


def _objective(situation: Situation, side: int) -> Objective:
    """Returns the objective of a student whose images have a side in pixels."""
    if situation.teacher is None:
        return Supervised()
    recipe = default_teacher_recipe(situation.teacher, situation.teacher_weights)
    if recipe is FROM_SCRATCH_TEACHER_RECIPE and side <= _SMALL_SIDE:
        # The published networks halve an image five times.
        recipe = dataclasses.replace(recipe, image_size=-(-2 * side // 32) * 32)
    return Distillation(
        kind="soft",
        alpha=0.9,
        temperature=3.0,
        teacher=situation.teacher,
        teacher_weights=situation.teacher_weights,
        teacher_recipe=recipe,
    )


def _teacher_reason(teacher: str | None) -> str:
    if teacher is None:
        return (
            "no teacher: it would have to be trained first, and on four small folders that gained "
            "no more in ten minutes than seeds differ; --teacher auto trains one, and --teacher "
            "FILE.keras is one that knows these classes"
        )
    return (
        "the teacher's softened distribution is distilled, with little weight on the labels: on "
        "little data it was better than its decisions"
    )


def _small_model(situation: Situation) -> tuple[dict, list[str]]:
    """Returns the values of a model for little data, and why they are these."""
    side, why = _side(situation)
    patch = 2
    while side / patch > _MAX_GRID:
        patch *= 2
    if situation.image_size is None:
        size = -(-side // patch) * patch
    elif situation.patch_size is not None:
        patch, size = situation.patch_size, situation.image_size
    else:
        size, patch = _divided(situation.image_size, patch)
        if size != situation.image_size:
            why = "the next multiple of the patches to what is given"
    width, depth = (192, 6) if situation.has_accelerator else (96, 4)
    values = {
        "image_size": size,
        "patch_size": patch,
        "embed_dim": width,
        "depth": depth,
        "num_heads": width // 32,
        "stem": "conv",
    }
    shown = size if isinstance(size, int) else "×".join(map(str, size))
    reasons = [
        f"images of {shown} pixels: {why}",
        "a convolutional stem in front of the transformer, which needs far fewer steps than "
        f"patches alone; width {width} and {depth} blocks fit "
        f"{'an accelerator' if situation.has_accelerator else 'CPU cores'}",
    ]
    return values, reasons


def _side(situation: Situation) -> tuple[int, str]:
    """Returns the side of the images in pixels, and why it is that."""
    if situation.image_size is not None:
        return _larger(situation.image_size), "as given"
    largest = _LARGEST_SIDE[situation.has_accelerator]
    own = situation.data.side
    if own is None:
        return largest, "their own size is not known before they are prepared"
    if own <= largest:
        return max(own, 16), "about their own size"
    on = "with an accelerator" if situation.has_accelerator else "without an accelerator"
    return largest, f"theirs is {own}, and {largest} is the most that is chosen {on}"


def _divided(size: int | tuple[int, int], patch: int) -> tuple[int | tuple[int, int], int]:
    """Returns the size of images that patches divide, and the side of these patches.

    The patches are half as large where only these divide the size and not too many come of it;
    otherwise the sides become larger.
    """
    sides = size if isinstance(size, tuple) else (size, size)
    half = patch // 2
    if any(side % patch for side in sides):
        if half > 1 and not any(side % half for side in sides):
            patch = half if max(sides) <= _LARGEST_GRID * half else patch
        sides = tuple(-(-side // patch) * patch for side in sides)
    return (sides if isinstance(size, tuple) else sides[0]), patch


def _larger(size: int | tuple[int, int]) -> int:
    return size if isinstance(size, int) else max(size)


def _clipped(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)
