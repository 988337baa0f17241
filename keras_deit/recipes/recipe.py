"""What a recipe is made of."""

import dataclasses

from keras_deit.data.augmentation import Augmentation
from keras_deit.data.transforms import check_evaluation_view
from keras_deit.distillation.arguments import check_distillation
from keras_deit.errors import InputError

# The learning rates of the papers are per this many images in a step (DeiT §5.4).
REFERENCE_BATCH_SIZE = 512


@dataclasses.dataclass(frozen=True)
class Optimisation:
    """AdamW with linear warm-up and cosine decay, both per step.

    Attributes:
        epochs: passes over the training data.
        batch_size: images in a step, on all devices together.
        learning_rate: at the peak, for 512 images in a step; it scales with `batch_size`.
        warmup_epochs: from `warmup_learning_rate` to the peak.
        warmup_learning_rate, min_learning_rate: where the schedule starts and ends, not scaled.
        weight_decay: of the decayed variables, multiplied by the learning rate at each step.
        adam_epsilon: ε of AdamW.
    """

    epochs: int = 300
    batch_size: int = 1024
    learning_rate: float = 5e-4
    warmup_epochs: float = 5
    warmup_learning_rate: float = 1e-6
    min_learning_rate: float = 1e-5
    weight_decay: float = 0.05
    adam_epsilon: float = 1e-8

    def __post_init__(self):
        for field in ("epochs", "batch_size", "learning_rate", "adam_epsilon"):
            _require(field, getattr(self, field), getattr(self, field) > 0, "above 0")
        for field in ("warmup_learning_rate", "min_learning_rate", "weight_decay"):
            _require(field, getattr(self, field), getattr(self, field) >= 0, "0 or more")
        in_range = 0 <= self.warmup_epochs <= self.epochs
        _require("warmup_epochs", self.warmup_epochs, in_range, f"from 0 to epochs={self.epochs}")

    @property
    def peak_learning_rate(self) -> float:
        return self.learning_rate * self.batch_size / REFERENCE_BATCH_SIZE


@dataclasses.dataclass(frozen=True)
class TeacherRecipe:
    """How a teacher is trained where no trained one is given.

    Attributes:
        optimisation, augmentation: as for the student.
        image_size: side in pixels of what the teacher takes; None for the student's own.
        batch_norm_momentum: of the teacher's moving statistics; None for the model's own. A
            training of a few hundred steps is over before Keras's 0.99 has caught up.
    """

    optimisation: Optimisation
    augmentation: Augmentation
    image_size: int | None = None
    batch_norm_momentum: float | None = None


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A way to train a student: data only, no code asks for its name.

    Attributes:
        name: of the recipe.
        model: the student, a name of `create_model`.
        model_values: what differs from the published values of that model.
        optimisation, augmentation: of the student's training.
        distillation: "hard", "soft" or "none".
        alpha: weight of the distillation loss.
        temperature: of soft distillation.
        teacher: name or `.keras` file of the teacher.
        teacher_weights: "imagenet" for a keras.applications teacher that starts from them.
        teacher_recipe: how to train it on the data, if it needs that.
        evaluation_crop_ratio: of the evaluation; None for the model's published one.
        validation_epochs: epochs from one validation and checkpoint to the next.
        validate_agreement: whether validation runs the teacher and logs the agreement with it.
    """

    name: str
    model: str
    model_values: dict
    optimisation: Optimisation
    augmentation: Augmentation
    distillation: str
    alpha: float
    temperature: float
    teacher: str | None
    teacher_recipe: TeacherRecipe
    teacher_weights: str | None = None
    evaluation_crop_ratio: float | None = None
    validation_epochs: int = 1
    validate_agreement: bool = False

    def __post_init__(self):
        check_distillation(self.distillation, self.alpha, self.temperature)
        if self.evaluation_crop_ratio is not None:
            check_evaluation_view(self.evaluation_crop_ratio, self.augmentation.interpolation)
        value = self.validation_epochs
        _require("validation_epochs", value, value >= 1, "1 or more")
        if self.teacher is None and self.distillation != "none":
            raise InputError(f"distillation {self.distillation!r} needs a teacher.")


def _require(field, value, condition, expected):
    if not condition:
        raise InputError(f"{field} should be {expected}. Received: {value}")
