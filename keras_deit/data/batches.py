"""Batches by their number, each made of nothing but the seed and that number."""

import sys

import numpy as np

from keras_deit.data.augmentation import Augmentation
from keras_deit.data.bad_images import BadImages
from keras_deit.data.erasing import random_erase
from keras_deit.data.images import DecodedImage
from keras_deit.data.mixing import Mix, apply_mixes, draw_mixes
from keras_deit.data.randomness import KeyedGenerator, Sample, ShuffledStream
from keras_deit.data.shares import WHOLE, Share
from keras_deit.data.source import Source, read
from keras_deit.data.transforms import center_crop_resize, normalise
from keras_deit.data.views import augment_image, decode_for_crops
from keras_deit.errors import InputError
from keras_deit.models.image_format import ImageFormat

_SHUFFLE, _AUGMENT, _MIX = range(3)


def num_batches(num_examples: int, batch_size: int) -> int:
    """The batches in one pass, a smaller last one counted."""
    return -(-num_examples // batch_size)


class TrainBatches:
    """Random access to the batches of the endless training stream, or to the shares of them."""

    def __init__(
        self,
        source: Source,
        image_format: ImageFormat,
        augmentation: Augmentation,
        num_classes: int,
        batch_size: int,
        seed: int,
        share: Share = WHOLE,
        bad_images: BadImages | None = None,
    ):
        self._source = source
        self._format = image_format
        self._augmentation = augmentation
        self._num_classes = num_classes
        self._batch_size = batch_size
        self._seed = seed
        self._share = share
        self._bad_images = bad_images or BadImages()
        self._stream = ShuffledStream(
            len(source), seed, _SHUFFLE, augmentation.repeated_augmentation
        )

    def __len__(self) -> int:
        return sys.maxsize // self._batch_size

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        batch, rows = self._share.train_rows(number, self._batch_size)
        images, labels = _empty_batch(len(rows), self._format)
        generator = KeyedGenerator(self._seed, _AUGMENT)
        first = batch * self._batch_size
        last = image = label = None
        for place, row in enumerate(rows):
            sample = self._stream[first + row]
            if sample[:2] != last:
                image, label = self._decode(sample, generator)
                last = sample[:2]
            self._augment(image, generator.at(*sample), images[place])
            labels[place] = label
        mixes = self._draw_mixes(batch)
        smoothing = self._augmentation.label_smoothing
        return apply_mixes(
            images, labels, self._num_classes, smoothing, [mixes[row] for row in rows]
        )

    def _draw_mixes(self, batch: int) -> list[Mix]:
        """Those of the whole batch: what is done to a row does not depend on its share."""
        rng = KeyedGenerator(self._seed, _MIX).at(batch)
        size = self._format.height, self._format.width
        return draw_mixes(self._batch_size, *size, self._augmentation, rng)

    def _decode(self, sample: Sample, generator: KeyedGenerator) -> tuple[DecodedImage, int]:
        """The image of a sample, or in place of a bad one the next in the source that is not."""
        count = len(self._source)
        for place in range(sample.index, sample.index + count):
            try:
                return self._decode_at(place % count, sample, generator)
            except InputError as error:
                self._bad_images.handle(error)
        raise InputError(f"None of the {count} training images can be read.")

    def _decode_at(
        self, index: int, sample: Sample, generator: KeyedGenerator
    ) -> tuple[DecodedImage, int]:
        """The image at `index`, for all copies of the sample: also for those in another batch, or
        what is in a batch would depend on its size."""
        image, label = read(self._source, index)
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
        for row, position in enumerate(positions):
            labels[row] = self._fill(images[row], position)
        return images, labels

    def _fill(self, out: np.ndarray, position: int) -> int:
        """Writes the view of an example to `out` and gives its label."""
        image, label = self._source[position]
        size = (self._format.height, self._format.width)
        view = center_crop_resize(image, *size, self._crop_ratio, self._interpolation)
        normalise(view, self._format, out)
        return label


def _empty_batch(count: int, image_format: ImageFormat) -> tuple[np.ndarray, np.ndarray]:
    images = np.empty((count, image_format.height, image_format.width, 3), np.float32)
    return images, np.empty(count, np.int32)
