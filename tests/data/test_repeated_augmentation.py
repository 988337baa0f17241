"""Repeated augmentation: the authors' sampler, the copies, and random access to batches."""

import dataclasses
import itertools

import cv2
import numpy as np
import pytest

from keras_deit.core.image_format import ImageFormat
from keras_deit.data import batches
from keras_deit.data.augmentation import Augmentation
from keras_deit.data.batches import TrainBatches
from keras_deit.data.datasets import load_dataset
from keras_deit.data.erasing import random_erase
from keras_deit.data.images import EncodedImage
from keras_deit.data.mixing import mix_batch
from keras_deit.data.pipeline import train_pipeline
from keras_deit.data.randomness import KeyedGenerator, ShuffledStream
from keras_deit.data.source import ArraySource
from keras_deit.data.transforms import normalize
from keras_deit.data.views import augment_image

FORMAT = ImageFormat(8, 8)
RAW = ImageFormat(2, 2, (0, 0, 0), (1 / 255,) * 3)  # The inputs are the pixels themselves.
PLAIN = Augmentation(
    crop="none", flip_probability=0.0, mixup_alpha=0.0, cutmix_alpha=0.0, label_smoothing=0.0
)
FULL = Augmentation(
    auto_augment="rand-m9-mstd0.5-inc1", erase_probability=0.25, repeated_augmentation=3
)


@pytest.mark.parametrize(("count", "length"), [(1000, 768), (256, 256), (255, 255), (7, 7)])
def test_the_stream_is_that_of_the_authors_sampler(count, length):
    """Every image comes three times in a row, and an epoch has n // 256 * 256 samples."""
    stream = ShuffledStream(count, 0, 0, repeats=3)
    assert stream.epoch_length == length
    seen = []
    for epoch in range(3):
        found = [stream[epoch * length + step] for step in range(length)]
        assert all(sample.epoch == epoch for sample in found)
        assert [sample.copy for sample in found] == [step % 3 for step in range(length)]
        indices = np.array([sample.index for sample in found])
        np.testing.assert_array_equal(indices, indices[np.arange(length) // 3 * 3])
        images = indices[::3]
        assert len(set(images)) == len(images) == -(-length // 3)
        seen.append(tuple(images))
    assert len(set(seen)) == 3


def test_an_epoch_of_imagenet_has_1251_batches():
    stream = ShuffledStream(1_281_167, 0, 0, repeats=3)
    assert stream.epoch_length == 1_281_024 == 1251 * 1024
    assert stream[stream.epoch_length - 1].epoch == 0 and stream[stream.epoch_length].epoch == 1


def test_copies_are_augmented_differently():
    crops = dataclasses.replace(
        PLAIN, crop="random_resized_crop", auto_augment="rand-m9-p1", repeated_augmentation=3
    )
    train = load_dataset("digits").train
    dataset = train_pipeline(train, FORMAT, crops, 10, 30, seed=0)
    images, targets = map(np.concatenate, zip(*itertools.islice(dataset, 20), strict=True))
    triples = images.reshape(200, 3, -1)
    labels = targets.argmax(1).reshape(200, 3)
    np.testing.assert_array_equal(labels, labels[:, :1].repeat(3, 1))
    different = [len(np.unique(triple, axis=0)) for triple in triples]
    assert np.mean(different) > 2.9


class RecordingSource:
    """A source that records which examples are read."""

    def __init__(self, source):
        self.source, self.read_indices = source, []

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        self.read_indices.append(index)
        return self.source[index]


def test_an_image_is_read_once_for_its_copies_in_a_batch():
    augmentation = dataclasses.replace(PLAIN, repeated_augmentation=3)
    pixels = np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None, None, None], (200, 2, 2, 3))
    source = RecordingSource(ArraySource(pixels, np.arange(200) % 5))
    # The copies in the two batches are 0 1 2, 0 1 2, 0 1 | 2, 0 1 2, 0 1 2, 0.
    stream = TrainBatches(source, RAW, augmentation, 5, 8, seed=0)
    images, _ = stream[0]
    assert len(source.read_indices) == 3
    np.testing.assert_allclose(images[:, 0, 0, 0], np.repeat(source.read_indices, 3)[:8])
    stream[1]
    assert len(source.read_indices) == 3 + 4 and source.read_indices[3] == source.read_indices[2]


def test_a_batch_depends_only_on_the_seed_and_its_index():
    """The expected batch is made here of the parts of the pipeline."""
    source = load_dataset("digits").train
    stream = TrainBatches(source, FORMAT, FULL, 10, 16, seed=5)
    number = 77  # In the second epoch of 1,024 samples.
    images, labels = np.empty((16, 8, 8, 3), np.float32), []
    for row in range(16):
        sample = ShuffledStream(len(source), 5, batches._SHUFFLE, 3)[16 * number + row]
        assert sample.epoch == 1
        rng = KeyedGenerator(5, batches._AUGMENT).at(*sample[:3])
        pixels, label = source[sample.index]
        images[row] = normalize(augment_image(pixels, FORMAT, FULL, rng), FORMAT)
        random_erase(images[row], rng, 0.25)
        labels.append(label)
    rng = KeyedGenerator(5, batches._MIX).at(number)
    expected = mix_batch(images, np.array(labels), 10, FULL, rng)
    assert all(map(np.array_equal, stream[number], expected))


@pytest.mark.parametrize("position", [(3, 7, 1), (3, 7, 2), (3, 8, 1), (4, 7, 1)])
def test_every_position_has_different_random_numbers(position):
    expected = KeyedGenerator(0, 1).at(3, 7, 1).random(1000)
    generator = KeyedGenerator(0, 1)
    generator.at(9, 9, 9).random(17)
    found = generator.at(*position).random(1000)
    assert np.array_equal(found, expected) == (position == (3, 7, 1))
    assert position == (3, 7, 1) or abs(np.corrcoef(found, expected)[0, 1]) < 0.1


class JpegSource:
    """A source of large smooth JPEG files, whose decoding can be reduced."""

    def __init__(self):
        rng = np.random.default_rng(0)
        grids = rng.integers(0, 256, (9, 6, 8, 3), np.uint8)
        self.files = [cv2.imencode(".jpg", cv2.resize(grid, (320, 240)))[1] for grid in grids]

    def __len__(self):
        return len(self.files)

    def read(self, index):
        return EncodedImage(self.files[index].tobytes(), str(index)), index % 5

    def __getitem__(self, index):
        image, label = self.read(index)
        return image.decode(), label


def test_the_reduction_of_an_image_does_not_depend_on_the_batch_size():
    augmentation = dataclasses.replace(PLAIN, crop="random_resized_crop", repeated_augmentation=3)
    image_format = ImageFormat(28, 28)
    streams = [
        TrainBatches(JpegSource(), image_format, augmentation, 5, size, seed=0) for size in (1, 9)
    ]
    one_by_one = np.concatenate([streams[0][number][0] for number in range(36)])
    in_nines = np.concatenate([streams[1][number][0] for number in range(4)])
    np.testing.assert_array_equal(one_by_one, in_nines)
