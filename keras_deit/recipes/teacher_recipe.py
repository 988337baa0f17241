"""How a teacher is trained: recipes of the teachers of a student, and published ones by name."""

import dataclasses

from keras_deit.core.errors import InputError
from keras_deit.core.image_format import ImageFormat
from keras_deit.core.registry import Registry
from keras_deit.data import Augmentation
from keras_deit.objectives import Supervised
from keras_deit.optimizers import Optimization, require

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
        loss: loss of the labels, see `objectives.Supervised`.
        target_smoothing: label smoothing of the targets of the loss "binary_cross_entropy".
        drop_path_rate: rate of stochastic depth, of a teacher that has it: see
            `teachers.build_teacher_model`.
        train_image_size: side in pixels of the images that the teacher is trained on; None for
            the size on which it is used.
    """

    optimization: Optimization
    augmentation: Augmentation
    image_size: int | None = None
    batch_norm_momentum: float | None = None
    minutes: float | None = None
    loss: str = "cross_entropy"
    target_smoothing: float = 0.0
    drop_path_rate: float = 0.0
    train_image_size: int | None = None

    def __post_init__(self):
        self.objective().check(self.augmentation)
        rate, size = self.drop_path_rate, self.train_image_size
        require("drop_path_rate", rate, 0 <= rate < 1, "in [0, 1)")
        require("train_image_size", size, size is None or size >= 1, "1 or more")
        for field in STUDENT_ONLY:
            default = Optimization.__dataclass_fields__[field].default
            value = getattr(self.optimization, field)
            require(f"{field} of a teacher's training", value, value == default, repr(default))

    def objective(self) -> Supervised:
        """Returns a new objective of the training."""
        return Supervised(self.loss, self.target_smoothing)

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
class ConvnetRecipe:
    """A published recipe of a convnet, by which `keras-deit train-teacher` trains a teacher.

    Attributes:
        name: name of the recipe.
        source: where it is published.
        expected: the published results.
        teacher: name of a teacher that the results belong to.
        training: how it is trained.
        image_size: side in pixels of the images on which it is evaluated and used.
        crop_ratio: crop ratio of the evaluation, which is bicubic.
    """

    name: str
    source: str
    expected: str
    teacher: str
    training: TeacherRecipe
    image_size: int = 224
    crop_ratio: float = 0.95

    def image_format(self, image_size: int | None = None) -> ImageFormat:
        """Returns the format of the images on which the teacher is evaluated.

        Args:
            image_size: side in pixels instead of the published one.
        """
        size = image_size or self.image_size
        return ImageFormat(size, size)


CONVNET_RECIPES: Registry[ConvnetRecipe] = Registry("recipe of a teacher")


def refuse_convnet_recipe(name: str) -> None:
    """Checks that a recipe is not one of a teacher.

    Raises:
        InputError: it is; the line says which command trains by it.
    """
    if name in CONVNET_RECIPES:
        raise InputError(
            f"The recipe {name!r} trains a convnet teacher: keras-deit train-teacher --recipe "
            f"{name} --teacher {CONVNET_RECIPES[name].teacher} --output FILE.keras."
        )
