"""Class weights, and epochs with equally many images of each class."""

import collections

import numpy as np
import pytest

from keras_deit.core.image_format import ImageFormat
from keras_deit.data import balanced_class_weights, source_labels, train_pipeline
from keras_deit.data.augmentation import Augmentation
from keras_deit.data.balance import ClassGroups
from keras_deit.data.batches import TrainBatches
from keras_deit.data.randomness import ShuffledStream
from keras_deit.data.shards import Shard
from keras_deit.data.source import ArraySource

LABELS = np.repeat([0, 1, 3], [240, 45, 15])  # No image of class 2.
FORMAT = ImageFormat(4, 4)


class WithoutLabels:
    """A source that has to be read for its labels."""

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, index):
        return np.full((4, 4, 3), index % 256, np.uint8), int(LABELS[index])


def source():
    return ArraySource(
        np.random.default_rng(0).integers(0, 256, (300, 24, 24, 3), np.uint8), LABELS
    )


def test_the_weights_are_in_inverse_proportion_to_the_number_of_images():
    weights = balanced_class_weights(source_labels(WithoutLabels()), 4)
    np.testing.assert_allclose(weights, [300 / (3 * 240), 300 / (3 * 45), 0, 300 / (3 * 15)])
    assert weights[LABELS].mean() == pytest.approx(1)


def test_an_epoch_has_equally_many_images_of_each_class():
    stream = ShuffledStream(300, 5, 0, groups=ClassGroups(LABELS))
    epochs = [[stream[300 * epoch + step] for step in range(300)] for epoch in range(2)]
    orders = []
    for samples in epochs:
        indices = np.array([sample.index for sample in samples])
        orders.append(indices)
        assert np.bincount(LABELS[indices]).tolist() == [100, 100, 0, 100]
        times = collections.Counter(indices.tolist())
        assert {times[index] for index in np.flatnonzero(LABELS == 0)} == {0, 1}
        assert {times[index] for index in np.flatnonzero(LABELS == 1)} == {2, 3}
        assert {times[index] for index in np.flatnonzero(LABELS == 3)} == {6, 7}
        # Each occurrence has a number of its own, for its own augmentation.
        found = {(sample.index, sample.occurrence) for sample in samples}
        assert found == {(index, n) for index, count in times.items() for n in range(count)}
    assert not np.array_equal(*orders)
    other = ShuffledStream(300, 6, 0, groups=ClassGroups(LABELS))
    assert [other[step].index for step in range(300)] != orders[0].tolist()


@pytest.mark.parametrize("repeats", [1, 3])
def test_the_shards_of_a_balanced_batch_are_the_batch(repeats):
    augmentation = Augmentation(repeated_augmentation=repeats)
    arguments = (source(), FORMAT, augmentation, 4, 16, 7)
    whole = TrainBatches(*arguments, balanced=True)
    for number in (1, 40):
        images, targets = whole[number]
        parts = [
            TrainBatches(*arguments, Shard(process, 2, 2), balanced=True)[2 * number + part]
            for part in range(2)
            for process in range(2)
        ]
        assert sorted(x.tobytes() for part, _ in parts for x in part) == sorted(
            x.tobytes() for x in images
        )
        assert sum(len(part) for _, part in parts) == len(targets)


def test_a_balanced_stream_goes_on_from_any_batch():
    augmentation = Augmentation(mixup_alpha=0.0, cutmix_alpha=0.0)
    arguments = (source(), FORMAT, augmentation, 4, 16, 7)
    whole = list(train_pipeline(*arguments, stop=25, balanced=True))
    resumed = list(train_pipeline(*arguments, start=17, stop=25, balanced=True))
    for (images, targets), (expected, wanted) in zip(resumed, whole[17:], strict=True):
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(targets, wanted)
    # No two occurrences of a rare image look the same.
    rare = [x.tobytes() for images, y in whole[:18] for x in images[np.argmax(y, 1) == 3]]
    assert len(rare) > 80 and len(set(rare)) > 0.95 * len(rare)
