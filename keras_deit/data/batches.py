"""Batches by index; the seed and the index alone determine the content of a batch."""

import sys
from collections.abc import Callable, Sequence

import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.image_format import ImageFormat
from keras_deit.core.labels import class_index
from keras_deit.data.augmentation import Augmentation
from keras_deit.data.bad_images import BadImages
from keras_deit.data.balance import ClassGroups, source_labels
from keras_deit.data.erasing import random_erase
from keras_deit.data.images import DecodedImage
from keras_deit.data.mixing import Mix, apply_mixes, draw_mixes
from keras_deit.data.randomness import KeyedGenerator, Sample, ShuffledStream
from keras_deit.data.shards import WHOLE, Shard
from keras_deit.data.source import Source, read
from keras_deit.data.transforms import center_crop_resize, normalize
from keras_deit.data.views import View, augment_image, decode_for_crops

_SHUFFLE, _AUGMENT, _MIX = range(3)


def num_batches(num_examples: int, batch_size: int) -> int:
    """Returns the number of batches in one pass, including a smaller last one."""
    return -(-num_examples // batch_size)


class TrainBatches:
    """Gives random access to the batches of the endless training stream, or to a shard of each.

    The arguments are those of `train_pipeline`.
    """

    def __init__(
        self,
        source: Source,
        image_format: ImageFormat,
        augmentation: Augmentation,
        num_classes: int,
        batch_size: int,
        seed: int,
        shard: Shard = WHOLE,
        bad_images: BadImages | None = None,
        views: int | Sequence[View] = 1,
        with_index: bool = False,
        balanced: bool = False,
        row_targets: Callable[[int, Sequence[int]], dict] | None = None,
    ):
        self._source = source
        self._row_targets = row_targets
        self._format = image_format
        self._augmentation = augmentation
        self._num_classes = num_classes
        self._batch_size = batch_size
        self._seed = seed
        self._shard = shard
        self._bad_images = bad_images or BadImages()
        self._views = _views(views, augmentation)
        self._formats = [view.image_format(image_format) for view in self._views]
        self._of_model = [view.size is None for view in self._views]
        _check_sizes(self._views, augmentation)
        self._with_index = with_index
        # In the order of the channels of an image that is normalized.
        self._mean = image_format.mean[:: -1 if image_format.channels == "BGR" else 1]
        groups = ClassGroups(source_labels(source)) if balanced else None
        repeats = augmentation.repeated_augmentation
        self._stream = ShuffledStream(len(source), seed, _SHUFFLE, repeats, groups)

    def __len__(self) -> int:
        return sys.maxsize // self._batch_size

    def __getitem__(self, number: int) -> tuple:
        batch, rows = self._shard.train_rows(number, self._batch_size)
        count = len(rows)
        images = [np.empty((count, *_shape(each)), np.float32) for each in self._formats]
        labels, indices = np.empty(count, np.int32), np.empty(count, np.int32)
        generator = KeyedGenerator(self._seed, _AUGMENT)
        first = batch * self._batch_size
        last = image = shown = None
        for place, row in enumerate(rows):
            sample = self._stream[first + row]
            example = (sample.epoch, sample.index, sample.occurrence)
            if example != last:
                shown, image, label = self._decode(sample, generator)
                last = example
            first_view = self._first_view(sample) + sample.copy * len(self._views)
            for view, out in enumerate(images):
                rng = generator.at(sample.epoch, sample.index, first_view + view)
                self._augment(image, view, rng, out[place])
            labels[place] = class_index(label, self._num_classes)
            indices[place] = shown
        targets = self._mix(batch, rows, images, labels)
        images = self._by_image(images)
        named = {"index": indices} if self._with_index else {}
        if self._row_targets is not None:
            named |= self._row_targets(batch, rows)
        return images, ({"labels": targets, **named} if named else targets)

    def _by_image(self, views: list[np.ndarray]) -> np.ndarray | dict[str, np.ndarray]:
        """Returns the views of each image next to each other, by their size if it differs."""
        if len(views) == 1:
            return views[0]
        if all(self._of_model):
            return np.stack(views, axis=1)
        pairs = list(zip(views, self._of_model, strict=True))
        return {
            name: np.stack([view for view, of_model in pairs if of_model == wanted], axis=1)
            for name, wanted in (("global", True), ("local", False))
        }

    def _first_view(self, sample: Sample) -> int:
        """Returns the index of the first view of an occurrence of an image among all in an epoch,
        which are those of all its occurrences and their copies."""
        return sample.occurrence * self._augmentation.repeated_augmentation * len(self._views)

    def _mix(self, batch: int, rows: list[int], images: list[np.ndarray], labels: np.ndarray):
        """Mixes all views in the same way and returns the targets."""
        mixes = self._draw_mixes(batch)
        smoothing = self._augmentation.label_smoothing
        for view in images:
            _, targets = apply_mixes(
                view,
                labels,
                self._num_classes,
                smoothing,
                [mixes[row] for row in rows],
                self._augmentation.mix_partner,
            )
        return targets

    def _draw_mixes(self, batch: int) -> list[Mix]:
        """Draws for the whole batch, so that the mixing of a row is the same in any shard."""
        rng = KeyedGenerator(self._seed, _MIX).at(batch)
        size = self._format.height, self._format.width
        return draw_mixes(self._batch_size, *size, self._augmentation, rng)

    def _decode(self, sample: Sample, generator: KeyedGenerator) -> tuple[int, DecodedImage, int]:
        """Returns the index, the image and the label of a sample, or those of the next readable one
        in the source."""
        count = len(self._source)
        for place in range(sample.index, sample.index + count):
            try:
                return place % count, *self._decode_at(place % count, sample, generator)
            except InputError as error:
                self._bad_images.handle(error)
        raise InputError(f"None of the {count} training images can be read.")

    def _decode_at(
        self, index: int, sample: Sample, generator: KeyedGenerator
    ) -> tuple[DecodedImage, int]:
        """Decodes the image at `index` for all views and copies of the sample.

        Copies in another batch count too, or the result would depend on the batch size.
        """
        image, label = read(self._source, index)
        first = self._first_view(sample)
        views = range(first, first + self._augmentation.repeated_augmentation * len(self._views))
        rngs = (generator.at(sample.epoch, sample.index, view) for view in views)
        return decode_for_crops(image, self._format, self._views, rngs), label

    def _augment(
        self, image: DecodedImage, view: int, rng: np.random.Generator, out: np.ndarray
    ) -> None:
        augmentation, view_format = self._views[view].augmentation, self._formats[view]
        pixels = augment_image(image, view_format, augmentation, rng)
        # Faster than normalizing the whole batch later: the image is still in the CPU cache.
        normalize(pixels, view_format, out)
        random_erase(
            out,
            rng,
            augmentation.erase_probability,
            augmentation.erase_area,
            augmentation.erase_aspect,
            augmentation.erase_count,
            augmentation.erase_mode,
            self._mean,
        )


class EvaluationBatches:
    """Gives random access to the batches of one pass.

    The arguments are those of `evaluation_pipeline`.
    """

    def __init__(
        self,
        source: Source,
        image_format: ImageFormat,
        batch_size: int,
        crop_ratio: float,
        interpolation: str,
        with_index: bool = False,
        num_classes: int | None = None,
    ):
        self._source = source
        self._format = image_format
        self._num_classes = num_classes
        self._batch_size = batch_size
        self._crop_ratio = crop_ratio
        self._interpolation = interpolation
        self._with_index = with_index

    def __len__(self) -> int:
        return num_batches(len(self._source), self._batch_size)

    def __getitem__(self, number: int) -> tuple:
        first = number * self._batch_size
        positions = range(first, min(first + self._batch_size, len(self._source)))
        images = np.empty((len(positions), *_shape(self._format)), np.float32)
        labels = np.empty(len(positions), np.int32)
        for row, position in enumerate(positions):
            labels[row] = self._fill(images[row], position)
        return images, self._targets(labels, positions)

    def _targets(self, labels: np.ndarray, positions):
        if not self._with_index:
            return labels
        return {"labels": labels, "index": np.asarray(positions, np.int32)}

    def _fill(self, out: np.ndarray, position: int) -> int:
        """Writes the evaluation view of an example to `out` and returns its label."""
        image, label = self._source[position]
        size = (self._format.height, self._format.width)
        view = center_crop_resize(image, *size, self._crop_ratio, self._interpolation)
        normalize(view, self._format, out)
        return class_index(label, self._num_classes)


class WeightedBatches(EvaluationBatches):
    """Gives random access to one process's rows of the batches of one pass, all of equal size.

    The last batch is padded with copies of the last example, whose weight is 0. The other rows
    have the weight (number of rows with padding) / (number of examples), so a loss that Keras
    divides by the batch size is the mean over the examples, like a weighted metric. For a bad image
    the pixels, the label and the weight are 0.

    Args:
        *arguments: those of `EvaluationBatches`; the batch size is that of all processes together.
        shard: the shard of this process.
        bad_images: the handling of bad images.
        **options: further ones of `EvaluationBatches`.
    """

    def __init__(self, *arguments, shard: Shard, bad_images: BadImages, **options):
        super().__init__(*arguments, **options)
        self._bad_images = bad_images
        self._rows = shard.evaluation_size(self._batch_size)
        self._offset = shard.process * self._rows
        self._weight = len(self) * self._batch_size / len(self._source)

    def __getitem__(self, number: int) -> tuple:
        first, end = number * self._batch_size + self._offset, len(self._source)
        # The rows of this process can all be padding.
        positions = range(first, min(first + self._rows, end)) or [end - 1]
        images = np.zeros((self._rows, *_shape(self._format)), np.float32)
        labels, weights = np.zeros(self._rows, np.int32), np.zeros(self._rows, np.float32)
        for row, position in enumerate(positions):
            try:
                labels[row] = self._fill(images[row], position)
                weights[row] = self._weight
            except InputError as error:
                self._bad_images.handle(error)
        images[len(positions) :] = images[len(positions) - 1]
        labels[len(positions) :] = labels[len(positions) - 1]
        weights[max(0, end - first) :] = 0
        padded = [*positions, *[positions[-1]] * (self._rows - len(positions))]
        return images, self._targets(labels, padded), weights


def _views(views: int | Sequence[View], augmentation: Augmentation) -> tuple[View, ...]:
    return (View(augmentation),) * views if isinstance(views, int) else tuple(views)


def _check_sizes(views: Sequence[View], augmentation: Augmentation) -> None:
    sizes = {view.size for view in views}
    mixed = augmentation.mixup_alpha or augmentation.cutmix_alpha
    if sizes != {None} and (len(sizes) != 2 or None not in sizes or mixed):
        raise InputError(
            "The views of an image should have the size of the model's images or one other size, "
            "without Mixup and CutMix if both occur. Received the sizes "
            f"{', '.join(map(str, sizes))}"
        )


def _shape(image_format: ImageFormat) -> tuple[int, int, int]:
    return image_format.height, image_format.width, 3
