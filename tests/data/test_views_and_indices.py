"""Several views of an image in a batch, and the indices of its images."""

import itertools

import numpy as np
import pytest

from keras_deit.core.errors import InputError
from keras_deit.core.image_format import ImageFormat
from keras_deit.data import (
    Augmentation,
    Shard,
    View,
    evaluation_pipeline,
    load_dataset,
    train_pipeline,
)
from keras_deit.data.source import ArraySource

FORMAT = ImageFormat(8, 8)
RAW = ImageFormat(2, 2, (0, 0, 0), (1 / 255,) * 3)  # The inputs are the pixels themselves.
PLAIN = Augmentation(
    crop="none", flip_probability=0.0, mixup_alpha=0.0, cutmix_alpha=0.0, label_smoothing=0.0
)


def digits(count=30, **options):
    """Returns the first batches of digits."""
    train = load_dataset("digits").train
    dataset = train_pipeline(train, FORMAT, Augmentation(), 10, 32, 0, **options)
    return list(itertools.islice(dataset, count))


def numbered(count):
    """Returns a source of images whose pixels are their index."""
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return ArraySource(np.broadcast_to(pixels, (count, 2, 2, 3)), np.arange(count) % 5)


def test_the_first_of_several_views_is_the_single_view():
    for (views, targets), (images, expected) in zip(digits(views=3), digits(), strict=True):
        assert views.shape == (32, 3, 8, 8, 3)
        np.testing.assert_array_equal(views[:, 0], images)
        np.testing.assert_array_equal(targets, expected)


def test_views_of_an_image_are_augmented_differently():
    views = np.concatenate([images for images, _ in digits(views=2)])
    assert (views[:, 0] != views[:, 1]).any((1, 2, 3)).mean() > 0.95


def test_shards_of_several_views_are_the_batch():
    whole = digits(views=2, with_index=True)
    for process in range(2):
        shard = Shard(process, 2)
        rows = shard.train_rows(0, 32)[1]
        for (images, targets), (found, found_targets) in zip(
            whole, digits(views=2, with_index=True, shard=shard), strict=True
        ):
            np.testing.assert_array_equal(found, images[rows])
            for name, values in targets.items():
                np.testing.assert_array_equal(found_targets[name], values[rows])


@pytest.mark.parametrize("repeats", [1, 3])
def test_the_index_of_a_training_image_is_that_of_its_source(repeats):
    augmentation = Augmentation(**{**vars(PLAIN), "repeated_augmentation": repeats})
    dataset = train_pipeline(numbered(23), RAW, augmentation, 5, 5, 0, with_index=True)
    for images, targets in itertools.islice(dataset, 20):
        assert targets["index"].dtype == np.int32
        np.testing.assert_array_equal(targets["index"], images[:, 0, 0, 0])
        np.testing.assert_array_equal(targets["labels"].argmax(1), targets["index"] % 5)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_index_of_an_evaluated_image_is_that_of_its_source(weighted):
    dataset = evaluation_pipeline(numbered(10), RAW, 4, weighted=weighted, with_index=True)
    indices = []
    for images, labels, *_ in dataset:
        np.testing.assert_allclose(labels["index"], images[:, 0, 0, 0], atol=1e-4)
        np.testing.assert_array_equal(labels["labels"], labels["index"] % 5)
        indices.extend(labels["index"])
    # The padding consists of copies of the last example.
    assert indices == [*range(10), *([9, 9] if weighted else [])]


def test_views_of_two_sizes_have_augmentations_of_their_own_and_do_not_depend_on_the_batch():
    views = (View(PLAIN), View(Augmentation(crop_scale=(0.2, 0.2))), View(PLAIN, 4), View(PLAIN, 4))
    found = {}
    for size in (8, 4):
        dataset = train_pipeline(
            load_dataset("digits").train, FORMAT, PLAIN, 10, size, 0, views=views, with_index=True
        )
        batches = list(itertools.islice(dataset, 16 // size))
        found[size] = [
            np.concatenate([images[name] for images, _ in batches]) for name in ("global", "local")
        ]
    whole, local = found[8]
    assert whole.shape == (16, 2, 8, 8, 3)
    assert local.shape == (16, 2, 4, 4, 3)
    np.testing.assert_array_equal(local[:, 0], local[:, 1])
    assert (whole[:, 0] != whole[:, 1]).any((1, 2, 3)).all()
    for one, other in zip(*found.values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_views_of_two_sizes_are_not_mixed():
    mixed = Augmentation(cutmix_alpha=0.0)
    with pytest.raises(InputError, match="Mixup"):
        train_pipeline(numbered(8), FORMAT, mixed, 5, 4, 0, views=(View(mixed), View(mixed, 4)))
