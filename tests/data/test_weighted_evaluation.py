"""Weighted evaluation: padding and bad images do not change the means."""

import keras
import numpy as np
import pytest

from keras_deit.core.errors import InputError
from keras_deit.core.image_format import ImageFormat
from keras_deit.data.bad_images import BadImages
from keras_deit.data.datasets import load_dataset
from keras_deit.data.images import UnreadableImage
from keras_deit.data.pipeline import evaluation_pipeline
from keras_deit.data.shards import Shard
from keras_deit.data.source import Subset

FORMAT = ImageFormat(8, 8)


class DamagedSource:
    """A source with some images that cannot be read."""

    def __init__(self, source, bad):
        self.source, self.bad = source, bad

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        if index in self.bad:
            raise UnreadableImage(f"Cannot decode image {index}.jpg", f"{index}.jpg")
        return self.source[index]


@pytest.fixture(scope="module")
def validation():
    return load_dataset("digits").validation


def gather(source, batch_size, **options):
    """Returns the concatenated arrays of all batches of one pass."""
    batches = list(evaluation_pipeline(source, FORMAT, batch_size, **options))
    return [np.concatenate(part) for part in zip(*batches, strict=True)]


def model_with_metrics():
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.1, weight.shape) for weight in model.weights])
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[
            keras.metrics.SparseCategoricalAccuracy(name="top1"),
            keras.metrics.SparseTopKCategoricalAccuracy(3, name="top3"),
            keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="entropy"),
        ],
    )
    return model


def expected_means(model, images, labels):
    """Returns loss and accuracies, computed from the logits in float64."""
    logits = np.asarray(model.predict(images, verbose=0), np.float64)
    own = logits[np.arange(len(labels)), labels]
    entropy = np.log(np.exp(logits).sum(1)) - own
    rank = (logits > own[:, None]).sum(1)
    return {
        "loss": entropy.mean(),
        "top1": (rank < 1).mean(),
        "top3": (rank < 3).mean(),
        "entropy": entropy.mean(),
    }


@pytest.mark.parametrize("batch_size", [1, 7, 60, 64, 100, 500])
def test_the_means_of_keras_are_those_of_the_examples(validation, batch_size):
    model = model_with_metrics()
    expected = expected_means(model, *gather(validation, 180))
    dataset = evaluation_pipeline(validation, FORMAT, batch_size, weighted=True)
    found = model.evaluate(dataset, verbose=0, return_dict=True)
    assert found == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize(("batch_size", "padded"), [(64, 192), (180, 180), (200, 200), (9, 180)])
def test_every_batch_is_full_and_the_padding_has_weight_0(validation, batch_size, padded):
    images, labels = gather(validation, batch_size)
    batches = list(evaluation_pipeline(validation, FORMAT, batch_size, weighted=True))
    assert all([len(part) for part in batch] == [batch_size] * 3 for batch in batches)
    found, found_labels, weights = map(np.concatenate, zip(*batches, strict=True))
    assert len(found) == padded and weights.dtype == np.float32
    np.testing.assert_array_equal(found[:180], images)
    np.testing.assert_array_equal(found_labels[:180], labels)
    np.testing.assert_array_equal(found[180:], np.broadcast_to(images[-1:], found[180:].shape))
    assert (found_labels[180:] == labels[-1]).all()
    np.testing.assert_array_equal(weights[:180], np.float32(padded / 180))
    np.testing.assert_array_equal(weights[180:], 0)
    assert weights.sum(dtype=np.float64) == pytest.approx(padded, rel=1e-6)


@pytest.mark.parametrize(("batch_size", "processes"), [(64, 4), (64, 8), (200, 2), (1000, 8)])
def test_processes_get_consecutive_rows_of_batches(validation, batch_size, processes):
    """With 1,000 rows and 8 processes, six of them have only padding."""
    whole = gather(validation, batch_size, weighted=True)
    size = batch_size // processes
    for process in range(processes):
        found = gather(validation, batch_size, weighted=True, shard=Shard(process, processes, 3))
        for part, expected in zip(found, whole, strict=True):
            batches = expected.reshape(-1, processes, size, *expected.shape[1:])
            np.testing.assert_array_equal(
                part.reshape(batches[:, process].shape), batches[:, process]
            )


@pytest.mark.parametrize("bad", [{3}, {0, 1, 2, 64, 100}, {178, 179}, {179}])
def test_metrics_exclude_bad_images(validation, bad):
    model = model_with_metrics()
    good = [index for index in range(180) if index not in bad]
    expected = expected_means(model, *gather(Subset(validation, good), 180))
    bad_images = BadImages("skip")
    dataset = evaluation_pipeline(
        DamagedSource(validation, bad), FORMAT, 64, weighted=True, bad_images=bad_images
    )
    found = model.evaluate(dataset, verbose=0, return_dict=True)
    # The number of bad images is not known in advance, so the loss counts each as a loss of 0.
    assert found.pop("loss") == pytest.approx(expected.pop("loss") * len(good) / 180, rel=2e-6)
    assert found == pytest.approx(expected, rel=2e-6)
    assert bad_images.names == sorted(f"{index}.jpg" for index in bad)
    assert len(bad_images.names) == len(bad)


def test_rows_of_bad_images_are_zeros_and_others_do_not_change(validation):
    bad = [5, 70, 179]
    options = {"batch_size": 64, "weighted": True}
    expected = gather(validation, **options)
    found = gather(DamagedSource(validation, bad), **options, bad_images=BadImages("skip"))
    rows = [5, 70, *range(179, 192)]  # The padding repeats the last example.
    for part, others in zip(found, expected, strict=True):
        assert not part[rows].any()
        np.testing.assert_array_equal(np.delete(part, rows, 0), np.delete(others, rows, 0))


@pytest.mark.parametrize("weighted", [False, True])
def test_a_bad_image_fails_by_default(validation, weighted):
    dataset = evaluation_pipeline(DamagedSource(validation, {70}), FORMAT, 64, weighted=weighted)
    with pytest.raises(InputError, match=r"70\.jpg"):
        list(dataset)


@pytest.mark.parametrize(
    "options", [{"shard": Shard(0, 2)}, {"bad_images": BadImages("skip")}], ids=["shard", "skip"]
)
def test_several_processes_and_skipped_images_need_weights(validation, options):
    with pytest.raises(InputError, match="weighted=False"):
        evaluation_pipeline(validation, FORMAT, 64, **options)


def test_batches_that_processes_cannot_divide_are_rejected(validation):
    with pytest.raises(InputError, match=r"multiple of 3.*64"):
        evaluation_pipeline(validation, FORMAT, 64, shard=Shard(0, 3), weighted=True)
