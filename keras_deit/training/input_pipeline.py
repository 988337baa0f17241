"""The input pipeline of a training: its batches, on every process and number of devices."""

import dataclasses
from collections.abc import Callable, Iterator

import keras
import numpy as np

from keras_deit.core.image_format import ImageFormat
from keras_deit.core.processes import process_index_and_count
from keras_deit.data import (
    Augmentation,
    BadImages,
    Dataset,
    Shard,
    Source,
    View,
    balanced_class_weights,
    evaluation_pipeline,
    source_labels,
    train_pipeline,
)
from keras_deit.objectives import Objective
from keras_deit.optimizers import Optimization
from keras_deit.teachers import Replay


def training_class_weights(optimization: Optimization, dataset: Dataset) -> np.ndarray | None:
    """Returns the weight of each class in the losses, float64 (classes,); None for no weights."""
    if optimization.class_weight == "none":
        return None
    return balanced_class_weights(source_labels(dataset.train), dataset.num_classes)


@dataclasses.dataclass(frozen=True)
class InputPipeline:
    """What the images of a training and of its evaluation have in common.

    Attributes:
        image_format: image format of the model.
        num_classes: number of classes of the labels.
        crop_ratio, interpolation: crop ratio and interpolation of the evaluation.
        bad_images: what to do about images that cannot be read.
        views: augmented copies of an image in a training batch.
        with_index: whether the labels hold the position of each image in its split.
        replay: stored labels of a teacher, for the batches of the training; None for none.
        views_of: returns the views for the augmentation of a recipe; None for `views` equal ones.
    """

    image_format: ImageFormat
    num_classes: int
    crop_ratio: float
    interpolation: str
    bad_images: BadImages = dataclasses.field(default_factory=BadImages)
    views: int = 1
    with_index: bool = False
    replay: Replay | None = None
    views_of: Callable[[Augmentation], int | tuple[View, ...]] | None = None

    def for_objective(self, objective: Objective) -> "InputPipeline":
        """Returns the pipeline whose batches hold what an objective asks for."""
        return dataclasses.replace(
            self,
            views=objective.views,
            with_index=objective.uses_index,
            replay=objective.replay,
            views_of=objective.augmented_views,
        )

    def train_batches(
        self, source: Source, augmentation: Augmentation, optimization: Optimization, seed: int
    ) -> Callable[[int], Iterator]:
        """Returns a function from a number to the endless batches of a training from there on.

        With accumulated gradients it counts micro-batches.
        """
        arguments, options = self.train_arguments(source, augmentation, optimization, seed)
        return lambda start: iter(train_pipeline(*arguments, **options, start=start))

    def train_arguments(
        self, source: Source, augmentation: Augmentation, optimization: Optimization, seed: int
    ) -> tuple[tuple, dict]:
        """Returns the arguments of `train_pipeline` for a training, by place and by name."""
        arguments = (source, self.image_format, augmentation, self.num_classes)
        return (*arguments, optimization.batch_size, seed), {
            "shard": Shard(*process_index_and_count(), optimization.accumulation_steps),
            "bad_images": self.bad_images,
            "views": self.views_of(augmentation) if self.views_of else self.views,
            "with_index": self.with_index,
            "balanced": optimization.sampling == "balanced",
            "row_targets": self.replay and self.replay.targets,
        }

    def evaluation_batches(self, source: Source, batch_size: int, padded: bool = False):
        """Returns one pass over all examples, with weights if batches have to be padded.

        Args:
            source: the examples.
            batch_size: examples at a time.
            padded: whether the last batch is as large as the others, so that nothing is compiled
                for it.
        """
        arguments, options = self.evaluation_arguments(source, batch_size)
        options["weighted"] = options["weighted"] or padded
        return evaluation_pipeline(*arguments, **options)

    def evaluation_arguments(self, source: Source, batch_size: int) -> tuple[tuple, dict]:
        """Returns the arguments of `evaluation_pipeline`, by place and by name."""
        view = (self.crop_ratio, self.interpolation)
        return (source, self.image_format, batch_size, *view), {
            "shard": Shard(*process_index_and_count()),
            "weighted": self._needs_weights(),
            "bad_images": self.bad_images,
            "with_index": self.with_index,
            "num_classes": self.num_classes,
        }

    def _needs_weights(self) -> bool:
        # The devices of a `keras.distribution` must get equally many rows.
        distributed = (
            keras.backend.backend() == "jax" and keras.distribution.distribution() is not None
        )
        return distributed or self.bad_images.policy == "skip"
