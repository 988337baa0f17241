"""From a source of images to the batches that `fit` and `evaluate` take.

An element of the Grain dataset is a whole batch, made by one function call: Grain spends some
20 microseconds of Python on every element and step, which on small images is more than the work.
Grain's threads make several batches at a time, and the state of its iterator is the number of
the next batch.
"""

import os
import sys

import cv2
import grain
import numpy as np

from keras_deit.data.augmentation import Augmentation
from keras_deit.data.erasing import random_erase
from keras_deit.data.images import DecodedImage
from keras_deit.data.mixing import mix_batch
from keras_deit.data.randomness import KeyedGenerator, Sample, ShuffledStream
from keras_deit.data.source import Source, read
from keras_deit.data.transforms import center_crop_resize, check_evaluation_view, normalise
from keras_deit.data.views import augment_image, decode_for_crops
from keras_deit.errors import InputError
from keras_deit.models.image_format import ImageFormat

_SHUFFLE, _AUGMENT, _MIX = range(3)
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


def num_batches(num_examples: int, batch_size: int) -> int:
    """The batches in one pass, a smaller last one counted."""
    return -(-num_examples // batch_size)


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
    the batch size.

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


class TrainBatches:
    """Random access to the batches of the endless training stream."""

    def __init__(
        self,
        source: Source,
        image_format: ImageFormat,
        augmentation: Augmentation,
        num_classes: int,
        batch_size: int,
        seed: int,
    ):
        self._source = source
        self._format = image_format
        self._augmentation = augmentation
        self._num_classes = num_classes
        self._batch_size = batch_size
        self._seed = seed
        self._stream = ShuffledStream(
            len(source), seed, _SHUFFLE, augmentation.repeated_augmentation
        )

    def __len__(self) -> int:
        return sys.maxsize // self._batch_size

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels = _empty_batch(self._batch_size, self._format)
        generator = KeyedGenerator(self._seed, _AUGMENT)
        first = number * self._batch_size
        last = image = label = None
        for row in range(self._batch_size):
            sample = self._stream[first + row]
            if sample[:2] != last:
                image, label = self._decode(sample, generator)
                last = sample[:2]
            self._augment(image, generator.at(*sample), images[row])
            labels[row] = label
        rng = KeyedGenerator(self._seed, _MIX).at(number)
        return mix_batch(images, labels, self._num_classes, self._augmentation, rng)

    def _decode(self, sample: Sample, generator: KeyedGenerator) -> tuple[DecodedImage, int]:
        """The image of a sample, for all its copies: also for those in another batch, or what is
        in a batch would depend on its size."""
        image, label = read(self._source, sample.index)
        copies = range(self._augmentation.repeated_augmentation)
        rngs = (generator.at(sample.epoch, sample.index, copy) for copy in copies)
        return decode_for_crops(image, self._format, self._augmentation, rngs), label

    def _augment(self, image: DecodedImage, rng: np.random.Generator, out: np.ndarray) -> None:
        augmentation = self._augmentation
        view = augment_image(image, self._format, augmentation, rng)
        # One image at a time, while it is in the processor's cache.
        normalise(view, self._format, out)
        random_erase(
            out,
            rng,
            augmentation.erase_probability,
            augmentation.erase_area,
            augmentation.erase_aspect,
            augmentation.erase_count,
        )


class EvaluationBatches:
    """Random access to the batches of one pass."""

    def __init__(
        self,
        source: Source,
        image_format: ImageFormat,
        batch_size: int,
        crop_ratio: float,
        interpolation: str,
    ):
        self._source = source
        self._format = image_format
        self._batch_size = batch_size
        self._crop_ratio = crop_ratio
        self._interpolation = interpolation

    def __len__(self) -> int:
        return num_batches(len(self._source), self._batch_size)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        first = number * self._batch_size
        positions = range(first, min(first + self._batch_size, len(self._source)))
        images, labels = _empty_batch(len(positions), self._format)
        size = (self._format.height, self._format.width)
        for row, position in enumerate(positions):
            image, labels[row] = self._source[position]
            view = center_crop_resize(image, *size, self._crop_ratio, self._interpolation)
            normalise(view, self._format, images[row])
        return images, labels


def _empty_batch(count: int, image_format: ImageFormat) -> tuple[np.ndarray, np.ndarray]:
    images = np.empty((count, image_format.height, image_format.width, 3), np.float32)
    return images, np.empty(count, np.int32)


def _read_ahead(
    batches: TrainBatches | EvaluationBatches, image_format: ImageFormat, batch_size: int
) -> grain.IterDataset:
    # OpenCV's own threads would compete with Grain's for the same cores.
    cv2.setNumThreads(1)
    batch_bytes = batch_size * image_format.height * image_format.width * 3 * 4
    threads = min(os.cpu_count() or 1, _MAX_THREADS, max(1, _MAX_BYTES_AHEAD // batch_bytes))
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    return grain.MapDataset.source(batches).to_iter_dataset(options)
