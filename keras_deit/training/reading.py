"""How a training reads its data: the batches of this process."""

import dataclasses
from collections.abc import Callable, Iterator

import keras

from keras_deit.data import (
    Augmentation,
    BadImages,
    Share,
    Source,
    evaluation_pipeline,
    train_pipeline,
)
from keras_deit.distillation.execution import process_share
from keras_deit.models.image_format import ImageFormat
from keras_deit.recipes import Optimisation


@dataclasses.dataclass(frozen=True)
class Reading:
    """What the images of a training and of its evaluation have in common.

    Attributes:
        image_format: that they are shown in.
        num_classes: of the labels.
        view: crop ratio and interpolation of the evaluation.
        bad_images: what to do about those that cannot be read.
    """

    image_format: ImageFormat
    num_classes: int
    view: tuple[float, str]
    bad_images: BadImages = dataclasses.field(default_factory=BadImages)

    def train_batches(
        self, source: Source, augmentation: Augmentation, optimisation: Optimisation, seed: int
    ) -> Callable[[int], Iterator]:
        """A function from a number to the endless batches of a training, from that one on.

        With accumulated gradients a batch comes in parts, and each part counts.
        """

        def batches(start: int) -> Iterator:
            data = train_pipeline(
                source,
                self.image_format,
                augmentation,
                self.num_classes,
                optimisation.batch_size,
                seed,
                share=Share(*process_share(), parts=optimisation.accumulation_steps),
                start=start,
                bad_images=self.bad_images,
            )
            return iter(data)

        return batches

    def evaluation_batches(self, source: Source, batch_size: int):
        """One pass over all examples, with weights where a batch has to be filled up."""
        return evaluation_pipeline(
            source,
            self.image_format,
            batch_size,
            *self.view,
            share=Share(*process_share()),
            weighted=self._weighted(),
            bad_images=self.bad_images,
        )

    def _weighted(self) -> bool:
        # The devices of a `keras.distribution` must get as many rows each.
        distributed = (
            keras.backend.backend() == "jax" and keras.distribution.distribution() is not None
        )
        return distributed or self.bad_images.policy == "skip"
