"""The accuracy of a teacher before a distillation, and whether it is worth learning from."""

import dataclasses

import keras
import numpy as np

from keras_deit.core.processes import all_gather, process_index_and_count
from keras_deit.data import Dataset, take_examples
from keras_deit.teachers import Teacher
from keras_deit.training.input_pipeline import InputPipeline

# A teacher whose accuracy is above that of a guess by less than this share of what is left to 1
# teaches hardly anything.
_WEAK = 0.2
# A teacher is at chance if a guess would reach its accuracy with so many standard deviations.
_DEVIATIONS = 3
# The validation images that a teacher is scored on.
_SCORED_IMAGES = 256


@dataclasses.dataclass(frozen=True)
class TeacherTop1:
    """The top-1 of a teacher on validation images.

    Attributes:
        top1: in [0, 1].
        images: number of the images.
        num_classes: number of classes, of which a guess takes one.
    """

    top1: float
    images: int
    num_classes: int

    def __str__(self):
        return f"top-1 {self.top1:.3f} on {self.images} validation images"

    @property
    def is_weak(self) -> bool:
        """Whether the teacher is hardly better than a guess."""
        return self.top1 < self._above_guess(_WEAK)

    @property
    def is_at_chance(self) -> bool:
        """Whether a guess could be as good as the teacher on these images."""
        guess = 1 / self.num_classes
        deviation = (guess * (1 - guess) / self.images) ** 0.5
        return self.is_weak and self.top1 <= guess + _DEVIATIONS * deviation

    @property
    def weakness(self) -> str:
        """What is wrong with a weak teacher, as the end of a sentence."""
        kind = "no better" if self.is_at_chance else "hardly better"
        return f"the teacher is {kind} than a guess, which has {1 / self.num_classes:.3f}: {self}"

    def _above_guess(self, share: float) -> float:
        guess = 1 / self.num_classes
        return guess + share * (1 - guess)


def teacher_top1(
    teacher: Teacher, dataset: Dataset, pipeline: InputPipeline, batch_size: int
) -> TeacherTop1:
    """Scores a teacher on some images of the validation split, equally many of each class.

    Args:
        teacher: as `resolve_teacher` returns it.
        dataset: with the validation split.
        pipeline: pipeline of the student's images.
        batch_size: images at a time.
    """
    count = min(_SCORED_IMAGES, len(dataset.validation))
    source = take_examples(dataset.validation, count)
    hits, counted = 0, 0
    for images, labels, *weights in pipeline.evaluation_batches(source, batch_size):
        right = np.argmax(keras.ops.convert_to_numpy(teacher(images, training=False)), axis=-1)
        kept = np.asarray(weights[0]) > 0 if weights else np.ones(len(right), bool)
        hits += int(np.sum((right == np.asarray(labels)) & kept))
        counted += int(np.sum(kept))
    # Each process has a part of the images.
    index, _ = process_index_and_count()
    parts = [line.split() for line in all_gather([f"{index} {hits} {counted}"])]
    hits, counted = (sum(int(part[field]) for part in parts) for field in (1, 2))
    return TeacherTop1(hits / max(counted, 1), max(counted, 1), dataset.num_classes)
