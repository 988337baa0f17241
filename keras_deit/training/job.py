"""What a training is asked to do."""

import dataclasses

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.distributed import Devices
from keras_deit.recipes import Recipe

ON_PROBLEM = ("fail", "skip")


@dataclasses.dataclass(frozen=True)
class Job:
    """A recipe applied to a dataset.

    Attributes:
        dataset: "digits", "folder:PATH", or a name of TensorFlow Datasets.
        recipe: with whatever was overridden.
        data_dir: where TensorFlow Datasets keeps its data.
        train_examples: number of training images that the model sees; None for all. They are
            repeated so that an epoch keeps its number of steps. The training of a teacher sees all.
        seed: of the weights, the order of the data, augmentation and stochastic depth.
        mixed_precision: the dtype policy: "float32", "mixed_bfloat16" or "mixed_float16".
        devices: where it runs.
        activation_checkpointing: whether blocks keep only their inputs for the backward pass and
            compute the rest a second time: less memory, more time, the same result.
        teacher_dir: where trained teachers are kept.
        checkpoint_seconds: from one checkpoint to the next; 0 for one after every step.
        keep_checkpoints: number of the newest checkpoints to keep.
        on_nan: after a step with non-finite gradients: "fail", or "skip" to continue without it.
        on_bad_image: at an image that cannot be read: "fail", or "skip" to take another one.
    """

    dataset: str
    recipe: Recipe
    data_dir: str | None = None
    train_examples: int | None = None
    seed: int = 0
    mixed_precision: str = "float32"
    devices: Devices = dataclasses.field(default_factory=Devices)
    activation_checkpointing: bool = False
    teacher_dir: str = "runs/teachers"
    checkpoint_seconds: float = 300.0
    keep_checkpoints: int = 2
    on_nan: str = "fail"
    on_bad_image: str = "fail"

    def __post_init__(self):
        for name in ("on_nan", "on_bad_image"):
            if getattr(self, name) not in ON_PROBLEM:
                raise unknown_name(name, getattr(self, name), ON_PROBLEM)
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
                f"The recipe {self.recipe.name} starts from trained weights: name them with "
                "--weights."
            )
