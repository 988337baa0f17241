"""Whole batches by their number, each made of nothing but the seed and that number."""

import sys

import numpy as np

from keras_deit.data.augmentation import Augmentation
from keras_deit.data.erasing import random_erase
from keras_deit.data.images import DecodedImage
from keras_deit.data.mixing import mix_batch
from keras_deit.data.randomness import KeyedGenerator, Sample, ShuffledStream
from keras_deit.data.source import Source, read
from keras_deit.data.transforms import center_crop_resize, normalise
from keras_deit.data.views import augment_image, decode_for_crops
from keras_deit.models.image_format import ImageFormat

_SHUFFLE, _AUGMENT, _MIX = range(3)


def num_batches(num_examples: int, batch_size: int) -> int:
    """The batches in one pass, a smaller last one counted."""
    return -(-num_examples // batch_size)


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
