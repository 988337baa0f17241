"""What a training is asked to do."""

import dataclasses
import hashlib
import json

import keras

from keras_deit.errors import InputError, unknown_name
from keras_deit.models import ImageFormat, get_spec, outline_model
from keras_deit.recipes import Recipe
from keras_deit.training.strategies import Devices

REACTIONS = ("fail", "skip")


@dataclasses.dataclass(frozen=True)
class Job:
    """A recipe applied to a dataset.

    Attributes:
        dataset: as `load_dataset` takes it.
        recipe: with whatever was overridden.
        data_dir: of TFDS.
        train_examples: how many of the training images the student sees, None for all. They are
            repeated so that an epoch keeps its number of steps; the teacher's training sees all.
        seed: of the student's weights, data order, augmentation and stochastic depth.
        mixed_precision: the dtype policy: "float32", "mixed_bfloat16" or "mixed_float16".
        devices: where it runs.
        rematerialise: whether the student's blocks compute their activations a second time in the
            backward pass, and keep their inputs alone: less memory, more time, the same result.
        teacher_pixels, teacher_outputs: the contract of a `.keras` teacher that has none beside
            it.
        teacher_dir: where teachers that had to be trained are kept.
        checkpoint_seconds: from one checkpoint to the next; 0 for one after every step.
        keep_checkpoints: how many of the newest are kept.
        on_nan: after a step whose gradients are not finite, "fail", or "skip" to go on without it.
        on_bad_image: at an image that cannot be read, "fail", or "skip" to take another.
    """

    dataset: str
    recipe: Recipe
    data_dir: str | None = None
    train_examples: int | None = None
    seed: int = 0
    mixed_precision: str = "float32"
    devices: Devices = dataclasses.field(default_factory=Devices)
    rematerialise: bool = False
    teacher_pixels: str | None = None
    teacher_outputs: str | None = None
    teacher_dir: str = "runs/teachers"
    checkpoint_seconds: float = 300.0
    keep_checkpoints: int = 2
    on_nan: str = "fail"
    on_bad_image: str = "fail"

    def __post_init__(self):
        for name in ("on_nan", "on_bad_image"):
            if getattr(self, name) not in REACTIONS:
                raise unknown_name(name, getattr(self, name), REACTIONS)
        if self.checkpoint_seconds < 0:
            raise InputError(
                f"checkpoint_seconds should be 0 or more. Received: {self.checkpoint_seconds}"
            )
        if self.keep_checkpoints < 1:
            raise InputError(
                f"keep_checkpoints should be 1 or more. Received: {self.keep_checkpoints}"
            )
        if self.seed < 0:
            raise InputError(f"seed should be 0 or more. Received: {self.seed}")
        if self.recipe.fine_tunes and self.recipe.weights is None:
            raise InputError(
                f"The recipe {self.recipe.name} starts from trained weights: name them."
            )

    def identity(self) -> dict:
        """What makes this run another run than the next, as JSON values.

        Where it runs, where things lie and what is done about a fault is not part of it; the
        backend is, because its random numbers are its own.
        """
        recipe = dataclasses.asdict(self.recipe)
        del recipe["about"]
        del recipe["optimisation"]["accumulation_steps"]
        return {
            "dataset": self.dataset,
            "train_examples": self.train_examples,
            "seed": self.seed,
            "mixed_precision": self.mixed_precision,
            "backend": keras.backend.backend(),
            "recipe": recipe,
        }

    def default_run_dir(self) -> str:
        """A directory of this run alone: the same command finds it again."""
        recipe = self.recipe
        dataset = self.dataset.rstrip("/").replace(":", "_").split("/")[-1]
        parts = (recipe.model, dataset, recipe.distillation, f"seed{self.seed}")
        return f"runs/{'-'.join(parts)}-{digest(self.identity())}"


def evaluation_crop_ratio(recipe: Recipe) -> float:
    """Of the recipe, or else what is published for its student."""
    if recipe.evaluation_crop_ratio is not None:
        return recipe.evaluation_crop_ratio
    return get_spec(recipe.model).crop_ratio


def evaluation_interpolation(recipe: Recipe) -> str:
    """Of the recipe, or else what is published for its student."""
    return recipe.evaluation_interpolation or get_spec(recipe.model).interpolation


def student_format(recipe: Recipe) -> ImageFormat:
    """The images that a recipe's student takes, at no cost: every value of it is checked."""
    return outline_model(recipe.model, **recipe.model_values).image_format


def digest(values: dict) -> str:
    """Eight hexadecimal digits that stand for nested JSON values."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
