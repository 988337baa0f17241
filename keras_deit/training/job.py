"""A job: what a training does."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal, get_args

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.files import absolute_path
from keras_deit.data import MAX_IMAGE_PIXELS, full_name, read_grouping
from keras_deit.distributed import Devices
from keras_deit.recipes import Recipe
from keras_deit.training.paths import with_absolute_paths

OnProblem = Literal["fail", "skip"]


@dataclasses.dataclass(frozen=True)
class Job:
    """A recipe applied to a dataset.

    Attributes:
        dataset: dataset to train on: "digits", "folder:PATH", or a name of TensorFlow Datasets.
        recipe: recipe with the user's changes.
        data_dir: directory in which TensorFlow Datasets stores its data.
        test_share: share of the images of a folder to hold out for the test split, if it has none;
            by default 0.2 if there is no validation split either.
        minutes: minutes that the whole training may take, from the start of the command, a teacher
            included; as many steps are done as fit. By default the recipe's number of steps.
        train_examples: number of training images to use; by default all. They are repeated so that
            an epoch keeps its number of steps. A teacher is trained on all images.
        seed: random seed of the initial weights, the order of the data, augmentation and stochastic
            depth.
        mixed_precision: dtype policy: "float32", "mixed_bfloat16" or "mixed_float16".
        devices: devices of the training.
        activation_checkpointing: whether to store only the inputs of the blocks for the backward
            pass and compute their activations again, which takes less memory and more time and
            gives the same result.
        teacher_dir: directory in which teachers are stored after their training.
        checkpoint_seconds: seconds from one checkpoint to the next; 0 for one after every step.
        keep_checkpoints: number of checkpoints to keep, the newest ones.
        extend: whether to train a run on to more epochs, steps or minutes than it was started with.
            The learning rate goes on where a training of this length would be.
        accept_changed_data: whether to resume although the data has changed since the training
            began.
        accept_teacher: whether to learn from a teacher that is no better than a guess on validation
            images.
        on_nan: what to do after a step with non-finite gradients: "fail", or "skip" to continue
            without this step.
        monitor: figure of the validation that chooses the best weights, such as "accuracy", "loss",
            or "balanced_accuracy", the mean of the accuracies of the classes; by default that of
            the recipe, or of the objective. The smallest loss is the best, and the largest of the
            others.
        on_bad_image: what to do at an image that cannot be read: "fail", or "skip" to use another
            one instead.
        max_image_pixels: the most pixels of an image that is decoded; one that declares more cannot
            be read, and neither can a file of more than four bytes for each of them.
        exif_orientation: whether to turn the photographs of a folder upright as their EXIF data
            says. Those of TensorFlow Datasets are never turned, as in the published evaluations.
        coarse: coarse labels to train on, as for `load_dataset`; a file is read here. The
            evaluation sees the fine ones, too.
    """

    dataset: str
    recipe: Recipe
    data_dir: str | None = None
    test_share: float | None = None
    minutes: float | None = None
    train_examples: int | None = None
    seed: int = 0
    mixed_precision: str = "float32"
    devices: Devices = dataclasses.field(default_factory=Devices)
    activation_checkpointing: bool = False
    teacher_dir: str = "runs/teachers"
    checkpoint_seconds: float = 300.0
    keep_checkpoints: int = 2
    extend: bool = False
    accept_changed_data: bool = False
    accept_teacher: bool = False
    on_nan: OnProblem = "fail"
    monitor: str | None = None
    on_bad_image: OnProblem = "fail"
    max_image_pixels: int = MAX_IMAGE_PIXELS
    exif_orientation: bool = True
    coarse: str | Mapping[str, str] | None = None

    def __post_init__(self):
        # A folder or a file is the same one however its path is written.
        object.__setattr__(self, "dataset", full_name(self.dataset))
        object.__setattr__(self, "recipe", with_absolute_paths(self.recipe))
        if self.coarse is not None:
            object.__setattr__(self, "coarse", read_grouping(self.coarse))
        for name in ("data_dir", "teacher_dir"):
            path = getattr(self, name)
            object.__setattr__(self, name, path and absolute_path(path))
        if self.monitor is None:
            object.__setattr__(self, "monitor", self.recipe.monitor)
        if self.monitor is not None:
            object.__setattr__(self, "monitor", self.monitor.removeprefix("val_"))
        for name in ("on_nan", "on_bad_image"):
            if getattr(self, name) not in get_args(OnProblem):
                raise unknown_name(name, getattr(self, name), get_args(OnProblem))
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise InputError(f"minutes should be above 0. Received: {self.minutes}")
        if self.checkpoint_seconds < 0:
            raise InputError(
                f"checkpoint_seconds should be 0 or more. Received: {self.checkpoint_seconds}"
            )
        if self.keep_checkpoints < 1:
            raise InputError(
                f"keep_checkpoints should be 1 or more. Received: {self.keep_checkpoints}"
            )
        if self.max_image_pixels < 1:
            raise InputError(
                f"max_image_pixels should be 1 or more. Received: {self.max_image_pixels}"
            )
        if self.seed < 0:
            raise InputError(f"seed should be 0 or more. Received: {self.seed}")
        if self.recipe.fine_tunes and self.recipe.weights is None:
            raise InputError(
                f"The recipe {self.recipe.name} starts from trained weights: name them with "
                "--weights."
            )
