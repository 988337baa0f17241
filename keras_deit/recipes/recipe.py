"""What a recipe is made of."""

import dataclasses
import fnmatch

from keras_deit.data.augmentation import Augmentation
from keras_deit.data.transforms import check_evaluation_view
from keras_deit.distillation.arguments import check_distillation
from keras_deit.errors import InputError, unknown_name

# The learning rates of the papers are per this many images in a step (DeiT §5.4).
REFERENCE_BATCH_SIZE = 512


OPTIMIZERS = ("adamw", "lamb", "sgd")
SCHEDULES = ("cosine", "epoch_cosine")
LOSSES = ("cross_entropy", "binary_cross_entropy", "sigmoid_cross_entropy")
TRAINABLE = ("all", "attention", "head")
# What a teacher's training does not do.
STUDENT_ONLY = (
    "loss",
    "layer_decay",
    "trainable",
    "training_mode",
    "ema_decay",
    "accumulation_steps",
)


@dataclasses.dataclass(frozen=True)
class Optimisation:
    """How the weights move. The defaults are DeiT's (§5.4), with a schedule by step.

    Attributes:
        epochs: passes over the training data.
        batch_size: images in a step, on all devices together.
        accumulation_steps: parts that a batch is cut into, whose gradients are added up one after
            the other, so that a device has so many times fewer images at once.
        optimizer: "adamw", "lamb" or "sgd" (with Nesterov momentum), each as the authors ran it.
        learning_rate: at the peak.
        learning_rate_scaling: whether `learning_rate` is for 512 images in a step and scales with
            `batch_size`; the recipes of DeiT III and LAMB do not scale.
        schedule: "cosine", linear warm-up and then half a cosine, changing at every step; or
            "epoch_cosine", the authors' own, constant within an epoch and one epoch late.
        warmup_epochs: from `warmup_learning_rate` to the peak.
        warmup_steps: of schedule "cosine", in place of `warmup_epochs`; None for those.
        warmup_learning_rate, min_learning_rate: where the schedule starts and ends, not scaled.
        weight_decay: of the decayed variables, multiplied by the learning rate at each step.
        adam_epsilon: ε of "adamw" and "lamb".
        momentum: of "sgd".
        clip_norm: largest norm of all gradients together, 0 for no clipping; by default 1 for
            "lamb", part of which it is, and 0 for the others.
        loss: of the labels: "cross_entropy"; "binary_cross_entropy", of every class by itself and
            averaged, where each class of a mixed image is a full target, so that it takes no
            smoothing; or "sigmoid_cross_entropy", of every class by itself and summed, where the
            target is the class's part.
        layer_decay: what each block's learning rate is multiplied with to give that of the block
            below; 1 for the same everywhere.
        trainable: "all" weights, "attention" for attention layers, class head and positions, or
            "head" for the heads alone.
        training_mode: whether the student trains in training mode; if not, as in DeiT's
            fine-tuning at 384, there is no stochastic depth and batch statistics stay as they are.
        ema_decay: of the moving average of all weights, taken at every step and evaluated beside
            them; 0 for none.
    """

    epochs: int = 300
    batch_size: int = 1024
    accumulation_steps: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 5e-4
    learning_rate_scaling: bool = True
    schedule: str = "cosine"
    warmup_epochs: float = 5
    warmup_steps: int | None = None
    warmup_learning_rate: float = 1e-6
    min_learning_rate: float = 1e-5
    weight_decay: float = 0.05
    adam_epsilon: float = 1e-8
    momentum: float = 0.9
    clip_norm: float | None = None
    loss: str = "cross_entropy"
    layer_decay: float = 1.0
    trainable: str = "all"
    training_mode: bool = True
    ema_decay: float = 0.0

    def __post_init__(self):
        for field, known in _CHOICES.items():
            if getattr(self, field) not in known:
                raise unknown_name(field, getattr(self, field), known)
        for field in ("epochs", "batch_size", "learning_rate", "adam_epsilon"):
            _require(field, getattr(self, field), getattr(self, field) > 0, "above 0")
        for field in ("warmup_learning_rate", "min_learning_rate", "weight_decay"):
            _require(field, getattr(self, field), getattr(self, field) >= 0, "0 or more")
        for field in ("momentum", "ema_decay"):
            value = getattr(self, field)
            _require(field, value, 0 <= value < 1, "at least 0 and below 1")
        _require("clip_norm", self.clip_norm, self.gradient_clip >= 0, "0 or more")
        _require("layer_decay", self.layer_decay, 0 < self.layer_decay <= 1, "in (0, 1]")
        parts = self.accumulation_steps
        divides = parts >= 1 and self.batch_size % parts == 0
        _require("accumulation_steps", parts, divides, f"a divisor of batch_size={self.batch_size}")
        in_range = 0 <= self.warmup_epochs <= self.epochs
        _require("warmup_epochs", self.warmup_epochs, in_range, f"from 0 to epochs={self.epochs}")
        if self.warmup_steps is not None:
            _require("warmup_steps", self.warmup_steps, self.warmup_steps >= 0, "0 or more")
            by_step = self.schedule == "cosine"
            _require("schedule with warmup_steps", self.schedule, by_step, "'cosine'")

    @property
    def peak_learning_rate(self) -> float:
        if not self.learning_rate_scaling:
            return self.learning_rate
        return self.learning_rate * self.batch_size / REFERENCE_BATCH_SIZE

    @property
    def gradient_clip(self) -> float:
        """The norm that all gradients together are clipped to; 0 for no clipping."""
        if self.clip_norm is None:
            return 1.0 if self.optimizer == "lamb" else 0.0
        return self.clip_norm


_CHOICES = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "loss": LOSSES,
    "trainable": TRAINABLE,
}


@dataclasses.dataclass(frozen=True)
class TeacherRecipe:
    """How a teacher is trained where no trained one is given.

    Attributes:
        optimisation, augmentation: as for the student, but for the fields in `STUDENT_ONLY`.
        image_size: side in pixels of what the teacher takes; None for the student's own.
        batch_norm_momentum: of the teacher's moving statistics; None for the model's own. A
            training of a few hundred steps is over before Keras's 0.99 has caught up.
    """

    optimisation: Optimisation
    augmentation: Augmentation
    image_size: int | None = None
    batch_norm_momentum: float | None = None

    def __post_init__(self):
        for field in STUDENT_ONLY:
            own = Optimisation.__dataclass_fields__[field].default
            value = getattr(self.optimisation, field)
            _require(f"{field} of a teacher's training", value, value == own, repr(own))


@dataclasses.dataclass(frozen=True)
class Variant:
    """What a recipe sets for some of its models.

    Attributes:
        pattern: of the models' names, as a shell has it.
        model_values, optimisation, augmentation: by field, in place of the recipe's.
        evaluation_crop_ratio: in place of the recipe's; None for that.
        expected: top-1 that is published for these models.
    """

    pattern: str
    model_values: dict = dataclasses.field(default_factory=dict)
    optimisation: dict = dataclasses.field(default_factory=dict)
    augmentation: dict = dataclasses.field(default_factory=dict)
    evaluation_crop_ratio: float | None = None
    expected: str = ""


@dataclasses.dataclass(frozen=True)
class About:
    """What is known of a recipe, for people; nothing is computed from it.

    Attributes:
        source: where it stands.
        hardware: what it was run on, and for how long, where that is known.
        expected: the published result.
    """

    source: str
    hardware: str
    expected: str


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A way to train a student: data only, no code asks for its name.

    Attributes:
        name: of the recipe.
        about: its source, hardware and expected result.
        model: the student, a name of `create_model`.
        model_values: what differs from the published values of that model.
        optimisation, augmentation: of the student's training.
        distillation: "hard", "soft" or "none".
        alpha: weight of the distillation loss.
        temperature: of soft distillation.
        teacher: name or `.keras` file of the teacher.
        variants: by model, what differs.
        fine_tunes: whether it starts from trained weights.
        weights: what the student starts from: a file, or hf://OWNER/NAME.
        head_bias: what the heads' biases start at, their kernels then at 0, in a student without
            `weights`; None for the model's own start.
        teacher_weights: "imagenet" for a keras.applications teacher that starts from them.
        teacher_recipe: how to train it on the data, if it needs that.
        evaluation_crop_ratio, evaluation_interpolation: of the evaluation; None for what is
            published of the model.
        validation_epochs: epochs from one validation and checkpoint to the next.
        validate_agreement: whether validation runs the teacher and logs the agreement with it.
    """

    name: str
    about: About
    model: str
    model_values: dict
    optimisation: Optimisation
    augmentation: Augmentation
    distillation: str
    alpha: float
    temperature: float
    teacher: str | None
    teacher_recipe: TeacherRecipe
    variants: tuple[Variant, ...] = ()
    fine_tunes: bool = False
    weights: str | None = None
    head_bias: float | None = None
    teacher_weights: str | None = None
    evaluation_crop_ratio: float | None = None
    evaluation_interpolation: str | None = None
    validation_epochs: int = 1
    validate_agreement: bool = False

    def __post_init__(self):
        check_distillation(self.distillation, self.alpha, self.temperature)
        crop_ratio, interpolation = self.evaluation_crop_ratio, self.evaluation_interpolation
        check_evaluation_view(
            1.0 if crop_ratio is None else crop_ratio,
            "bicubic" if interpolation is None else interpolation,
        )
        smoothing = self.augmentation.label_smoothing
        if self.optimisation.loss == "binary_cross_entropy" and smoothing > 0:
            raise InputError(
                "loss 'binary_cross_entropy' needs label_smoothing 0: smoothed, every class would "
                f"be a target. Received: label_smoothing={smoothing}"
            )
        value = self.validation_epochs
        _require("validation_epochs", value, value >= 1, "1 or more")
        if self.teacher is None and self.distillation != "none":
            raise InputError(f"distillation {self.distillation!r} needs a teacher.")

    def for_model(self, model: str) -> "Recipe":
        """The recipe for one model, with what is set for it in place of its variants."""
        chosen = [v for v in self.variants if fnmatch.fnmatchcase(model, v.pattern)]
        recipe = dataclasses.replace(self, model=model, variants=())
        for variant in chosen:
            expected = variant.expected or recipe.about.expected
            crop_ratio = variant.evaluation_crop_ratio or recipe.evaluation_crop_ratio
            recipe = dataclasses.replace(
                recipe,
                about=dataclasses.replace(recipe.about, expected=expected),
                model_values={**recipe.model_values, **variant.model_values},
                optimisation=dataclasses.replace(recipe.optimisation, **variant.optimisation),
                augmentation=dataclasses.replace(recipe.augmentation, **variant.augmentation),
                evaluation_crop_ratio=crop_ratio,
            )
        return recipe


def _require(field, value, condition, expected):
    if not condition:
        raise InputError(f"{field} should be {expected}. Received: {value}")
