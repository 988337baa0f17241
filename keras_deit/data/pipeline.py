"""From a source of images to the batches that `fit` and `evaluate` take.

An element of the Grain dataset is a whole batch, made by one function call: Grain spends some
20 microseconds of Python on every element and step, which on small images is more than the work.
Grain's threads make several batches at a time, and the state of its iterator is the number of
the next batch.
"""

import os

import cv2
import grain

from keras_deit.data.augmentation import Augmentation
from keras_deit.data.batches import EvaluationBatches, TrainBatches
from keras_deit.data.source import Source
from keras_deit.data.transforms import check_evaluation_view
from keras_deit.errors import InputError
from keras_deit.models.image_format import ImageFormat

_MAX_THREADS = 16
_MAX_BYTES_AHEAD = 4 * 2**30


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """The whole batches in an epoch.

    Raises:
        InputError: the batch size is below 1 or above the number of examples.
    """
    if not 1 <= batch_size <= num_examples:
        raise InputError(
            f"The batch size should be from 1 to {num_examples}, the number of training examples. "
            f"Received: {batch_size}."
        )
    return num_examples // batch_size


def train_pipeline(
    source: Source,
    image_format: ImageFormat,
    augmentation: Augmentation,
    num_classes: int,
    batch_size: int,
    seed: int,
) -> grain.IterDataset:
    """Endless batches for training, shuffled anew in every epoch.

    The epochs follow each other without a gap, so a batch may hold the end of one and the start
    of the next and every batch is full. What a batch holds depends on the seed and its number only;
    what is done to an image, on the seed, the epoch, the image's index and which copy it is, not on
    the batch size. So the stream is the same from any number of threads, and from the worker
    processes of Grain's `mp_prefetch`. With repeated augmentation an epoch of the stream is that of
    `randomness.ShuffledStream`.

    Args:
        source: of training examples.
        image_format: of the model.
        augmentation: of the recipe.
        num_classes: K.
        batch_size: B.
        seed: of the run, 0 or more.

    Returns:
        A dataset of pairs: images, float32 (B, height, width, 3), normalised; and targets,
        float32 (B, K), smoothed and mixed.

    Raises:
        InputError: a batch size or seed that cannot be, or, while reading, a broken image.
    """
    steps_per_epoch(len(source), batch_size)
    if seed < 0:
        raise InputError(f"The seed should be 0 or more. Received: {seed}.")
    batches = TrainBatches(source, image_format, augmentation, num_classes, batch_size, seed)
    return _read_ahead(batches, image_format, batch_size)


def evaluation_pipeline(
    source: Source,
    image_format: ImageFormat,
    batch_size: int,
    crop_ratio: float = 1.0,
    interpolation: str = "bicubic",
) -> grain.IterDataset:
    """One pass over the examples in their order; the last batch may be smaller.

    Args:
        source: of validation or test examples.
        image_format: of the model.
        batch_size: B.
        crop_ratio: see `transforms.center_crop_resize`.
        interpolation: "bicubic" or "bilinear".

    Returns:
        A dataset of pairs: images, float32 (B, height, width, 3), normalised; labels, int32 (B,).

    Raises:
        InputError: a batch size, crop ratio or interpolation that cannot be, or, while reading,
            a broken image.
    """
    check_evaluation_view(crop_ratio, interpolation)
    if batch_size < 1:
        raise InputError(f"The batch size should be 1 or more. Received: {batch_size}.")
    batches = EvaluationBatches(source, image_format, batch_size, crop_ratio, interpolation)
    return _read_ahead(batches, image_format, min(batch_size, len(source)))


def _read_ahead(
    batches: TrainBatches | EvaluationBatches, image_format: ImageFormat, batch_size: int
) -> grain.IterDataset:
    # OpenCV's own threads would compete with Grain's for the same cores.
    cv2.setNumThreads(1)
    batch_bytes = batch_size * image_format.height * image_format.width * 3 * 4
    threads = min(os.cpu_count() or 1, _MAX_THREADS, max(1, _MAX_BYTES_AHEAD // batch_bytes))
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    return grain.MapDataset.source(batches).to_iter_dataset(options)
