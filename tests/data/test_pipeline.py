"""Batches: their content, what it depends on, resuming, and training with them in Keras."""

import dataclasses
import itertools

import cv2
import grain
import keras
import numpy as np
import pytest
from processes import end, start

from keras_deit.core.errors import InputError
from keras_deit.core.image_format import ImageFormat
from keras_deit.data import pipeline
from keras_deit.data.augmentation import Augmentation
from keras_deit.data.datasets import load_dataset
from keras_deit.data.pipeline import (
    evaluation_pipeline,
    steps_per_epoch,
    train_pipeline,
)
from keras_deit.data.source import ArraySource, Subset
from keras_deit.data.transforms import center_crop_resize, normalize

FORMAT = ImageFormat(8, 8)
RAW = ImageFormat(2, 2, (0, 0, 0), (1 / 255,) * 3)  # The inputs are the pixels themselves.
PLAIN = Augmentation(
    crop="none", flip_probability=0.0, mixup_alpha=0.0, cutmix_alpha=0.0, label_smoothing=0.0
)


def numbered(count):
    """Returns a source of images whose pixels are their index."""
    images = np.broadcast_to(
        np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 2, 2, 3)
    )
    return ArraySource(images, np.arange(count) % 5)


# All steps together.
FULL = Augmentation(
    auto_augment="rand-m9-mstd0.5-inc1", erase_probability=0.25, repeated_augmentation=3
)


def digits(augmentation=None, batch_size=32, seed=0):
    train = load_dataset("digits").train
    return train_pipeline(train, FORMAT, augmentation or Augmentation(), 10, batch_size, seed)


def take(dataset, count):
    """Returns the first batches, concatenated to one pair of arrays."""
    batches = list(itertools.islice(iter(dataset), count))
    return tuple(np.concatenate(part) for part in zip(*batches, strict=True))


def assert_same(first, second):
    for left, right in zip(first, second, strict=True):
        np.testing.assert_array_equal(left, right)


def test_batches_are_normalized_floats_and_soft_targets():
    images, targets = next(iter(digits(batch_size=48)))
    assert images.shape == (48, 8, 8, 3) and images.dtype == np.float32
    assert targets.shape == (48, 10) and targets.dtype == np.float32
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-5)
    assert targets.min() >= 0.1 / 10 - 1e-6
    low, high = (normalize(np.full((1, 1, 3), gray, np.uint8), FORMAT) for gray in (0, 255))
    assert (images >= low - 1e-5).all() and (images <= high + 1e-5).all()


def test_every_epoch_has_every_example_once_in_a_different_order():
    # With 23 examples in batches of 5, epochs end inside of batches.
    images, targets = take(train_pipeline(numbered(23), RAW, PLAIN, 5, 5, seed=0), 23)
    indices = images[:, 0, 0, 0].astype(int)
    np.testing.assert_array_equal(targets.argmax(1), indices % 5)
    epochs = indices.reshape(5, 23)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(23))
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_two_passes_are_identical_and_another_seed_differs():
    dataset = digits()
    first = take(dataset, 50)  # beyond the first epoch of 39 batches
    assert_same(first, take(dataset, 50))
    assert_same(first, take(digits(), 50))
    other = take(digits(seed=1), 50)
    assert not np.array_equal(first[0], other[0])
    assert (np.abs(first[1] - other[1]).max(1) > 0.01).mean() > 0.5


def test_an_example_is_augmented_differently_in_every_epoch():
    source = Subset(load_dataset("digits").train, [0, 1])
    flips_and_crops = dataclasses.replace(PLAIN, crop="random_resized_crop", flip_probability=0.5)
    images, targets = take(train_pipeline(source, FORMAT, flips_and_crops, 10, 2, seed=0), 20)
    views = images[targets[:, source[0][1]] == 1]
    assert len(views) == 20
    # The image is so small that some boxes are equal.
    assert len(np.unique(views, axis=0)) >= 18


@pytest.mark.parametrize("augmentation", [Augmentation(), FULL])
@pytest.mark.parametrize("threads", [0, 1, 4])
def test_the_stream_does_not_depend_on_the_number_of_threads(threads, augmentation, monkeypatch):
    expected = take(digits(augmentation), 45)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    monkeypatch.setattr(pipeline.grain, "ReadOptions", lambda **_: options)
    assert_same(take(digits(augmentation), 45), expected)


@pytest.mark.parametrize("copies", [1, 3])
def test_an_image_is_augmented_the_same_in_batches_of_another_size(copies):
    unmixed = dataclasses.replace(
        FULL, mixup_alpha=0.0, cutmix_alpha=0.0, repeated_augmentation=copies
    )
    expected = take(digits(unmixed, batch_size=25), 60)
    assert_same(take(digits(unmixed, batch_size=60), 25), expected)


@pytest.mark.parametrize("field", ["mixup_alpha", "erase_probability", "auto_augment"])
def test_every_step_of_the_recipe_is_applied(field):
    off = {"mixup_alpha": 0.0, "erase_probability": 0.0, "auto_augment": "none"}
    base = dataclasses.replace(FULL, cutmix_alpha=0.0)
    images, _ = take(digits(base), 3)
    without, _ = take(digits(dataclasses.replace(base, **{field: off[field]})), 3)
    assert (images != without).any((1, 2, 3)).mean() > 0.15


def test_reduced_decoding_of_folders_hardly_changes_the_batches(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for number in range(10):
            pixels = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (320, 240))
            cv2.imwrite(str(tmp_path / name / f"{number}.jpg"), pixels)
    train = load_dataset(f"folder:{tmp_path}").train
    decoded = ArraySource(np.stack([train[i][0] for i in range(len(train))]), train.labels)
    crops = Augmentation(mixup_alpha=0.0, cutmix_alpha=0.0, repeated_augmentation=2)
    image_format = ImageFormat(20, 20)
    found, reference = (
        take(train_pipeline(source, image_format, crops, 2, 7, seed=0), 4)
        for source in (train, decoded)
    )
    np.testing.assert_array_equal(found[1], reference[1])
    difference = np.abs(found[0] - reference[0]).mean((1, 2, 3))
    # A gray level is 0.0175 here, and the files are noise. Small crops were decoded at full size.
    assert difference.mean() < 1.5 * 0.0175 and difference.max() < 6 * 0.0175
    assert (difference == 0).any() and (difference > 0).any()


WORKERS = """
import itertools, sys
import grain, numpy as np
from absl import flags
from keras_deit.data import Augmentation, load_dataset, train_pipeline
from keras_deit.core.image_format import ImageFormat

if __name__ == "__main__":
    flags.FLAGS(sys.argv)  # Grain's worker processes need parsed flags.
    augmentation = Augmentation(
        auto_augment="rand-m9-mstd0.5-inc1", erase_probability=0.25, repeated_augmentation=3
    )
    train = load_dataset("digits").train
    dataset = train_pipeline(train, ImageFormat(16, 16), augmentation, 10, 32, seed=0)
    processes = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=2))
    for batch, expected in itertools.islice(zip(processes, dataset), 40):
        assert all(map(np.array_equal, batch, expected))
    print("same")
"""


@pytest.mark.slow
def test_the_stream_is_the_same_from_worker_processes(tmp_path):
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    assert end(start(script, backend="jax")).strip() == "same"


def test_an_iterator_resumes_from_its_state():
    iterator = iter(digits())
    for _ in range(7):
        next(iterator)
    state = iterator.get_state()
    expected = next(iterator)
    resumed = iter(digits())
    resumed.set_state(state)
    assert_same(next(resumed), expected)


def test_batches_are_mixed_with_different_lambdas():
    _, targets = take(digits(Augmentation(label_smoothing=0.0)), 40)
    # All images of a batch have the same lambda, except partners of the same class.
    largest = [np.unique(batch.max(1).round(5)) for batch in targets.reshape(40, 32, 10)]
    assert all(len(values[values < 0.99999]) <= 1 for values in largest)
    assert len({tuple(values) for values in largest}) > 30


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"), [(10, 4, [4, 4, 2]), (6, 3, [3, 3]), (2, 8, [2])]
)
def test_evaluation_is_one_pass_in_order(count, batch_size, sizes):
    source = numbered(count)
    dataset = evaluation_pipeline(source, RAW, batch_size, 1.0, "bicubic")
    for _ in range(2):
        batches = list(dataset)
        assert [len(images) for images, _ in batches] == sizes
        labels = np.concatenate([labels for _, labels in batches])
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, source.labels)
        images = np.concatenate([images for images, _ in batches])
        assert images.dtype == np.float32
        np.testing.assert_allclose(images[:, 1, 1, 2], np.arange(count), atol=1e-4)


@pytest.mark.parametrize(("crop_ratio", "interpolation"), [(1.0, "bilinear"), (0.5, "bicubic")])
def test_evaluation_uses_the_center_crop(crop_ratio, interpolation):
    test = load_dataset("digits").test
    image_format = ImageFormat(12, 12)
    images, labels = next(
        iter(evaluation_pipeline(test, image_format, 5, crop_ratio, interpolation))
    )
    view = center_crop_resize(test[3][0], 12, 12, crop_ratio, interpolation)
    np.testing.assert_array_equal(images[3], normalize(view, image_format))
    assert labels[3] == test[3][1]


def test_steps_per_epoch():
    assert steps_per_epoch(1257, 64) == 19
    assert steps_per_epoch(64, 64) == 1


@pytest.mark.parametrize("batch_size", [0, 24, -3])
def test_impossible_batch_sizes_are_rejected(batch_size):
    message = f"1 to 23, .*: {batch_size}"
    with pytest.raises(InputError, match=message):
        steps_per_epoch(23, batch_size)
    with pytest.raises(InputError, match=message):
        train_pipeline(numbered(23), RAW, PLAIN, 5, batch_size, 0)


def test_other_impossible_arguments_are_rejected():
    with pytest.raises(InputError, match=r"seed .*-1"):
        train_pipeline(numbered(23), RAW, PLAIN, 5, 4, -1)
    with pytest.raises(InputError, match=r"batch size .*0"):
        evaluation_pipeline(numbered(3), RAW, 0)
    for crop_ratio in (0, 1.2):
        with pytest.raises(InputError, match=f"crop ratio .*{crop_ratio}"):
            evaluation_pipeline(numbered(3), RAW, 2, crop_ratio)
    with pytest.raises(InputError, match="interpolation 'area'"):
        evaluation_pipeline(numbered(3), RAW, 2, 1.0, "area")


def test_the_error_of_a_source_is_raised():
    class Broken:
        def __len__(self):
            return 8

        def __getitem__(self, index):
            raise InputError(f"Cannot decode {index}.jpg")

    dataset = train_pipeline(Broken(), RAW, PLAIN, 5, 4, 0)
    with pytest.raises(InputError, match=r"Cannot decode \d.jpg"):
        next(iter(dataset))


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_keras_trains_and_evaluates_with_the_batches():
    digits = load_dataset("digits")
    augmentation = Augmentation(
        crop="random_crop", crop_padding=1, flip_probability=0.0, mixup_alpha=0.2, cutmix_alpha=0.0
    )
    train = train_pipeline(digits.train, FORMAT, augmentation, 10, 64, seed=0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Flatten(),
            keras.layers.Dense(64, "relu"),
            keras.layers.Dense(10, "softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.003), "categorical_crossentropy")
    steps = steps_per_epoch(len(digits.train), 64)
    model.fit(train, steps_per_epoch=steps, epochs=12, verbose=0)
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    validation = evaluation_pipeline(digits.validation, FORMAT, 64)
    # There are 180 images of ten classes.
    assert model.evaluate(validation, verbose=0, return_dict=True)["accuracy"] > 0.8
