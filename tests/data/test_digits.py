"""The embedded digits: their split is pinned, because reported accuracies depend on it."""

import hashlib

import numpy as np
from sklearn.datasets import load_digits as load_sklearn_digits

from keras_deit.data.datasets import load_dataset
from keras_deit.data.splits import fixed_permutation

COUNTS = [
    [124, 128, 124, 128, 127, 127, 127, 125, 121, 126],
    [18, 18, 18, 18, 18, 18, 18, 18, 18, 18],
    [36, 36, 35, 37, 36, 37, 36, 36, 35, 36],
]
CHECKSUM = "cfc88405e75a41ea"
ORDER = [4, 6, 2, 7, 3, 5, 9, 0, 8, 1]
SPLITS = ("train", "validation", "test")


def test_sizes_classes_and_checksum_of_the_split():
    dataset = load_dataset("digits")
    assert dataset.name == "digits"
    assert dataset.class_names == tuple("0123456789")
    assert dataset.num_classes == 10
    sources = [getattr(dataset, split) for split in SPLITS]
    assert [len(source) for source in sources] == [1257, 180, 360]
    counts = [np.bincount(source.labels).tolist() for source in sources]
    assert counts == COUNTS
    indices = np.concatenate([source._indices for source in sources])
    np.testing.assert_array_equal(np.sort(indices), np.arange(1797))
    assert hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest()[:16] == CHECKSUM


def test_pixels_are_those_of_scikit_learn_scaled_and_rounded():
    dataset = load_dataset("digits")
    original = load_sklearn_digits()
    position = 17
    image, label = dataset.test[position]
    index = dataset.test._indices[position]
    assert image.shape == (8, 8, 3) and image.dtype == np.uint8
    assert type(label) is int and label == original.target[index]
    assert np.abs(image - original.images[index][..., None] * 255 / 16).max() <= 0.5
    levels = np.unique(np.stack([dataset.train[i][0] for i in range(1257)]))
    assert levels.tolist() == [round(gray * 255 / 16) for gray in range(17)]


def test_the_order_of_unlabeled_data_never_changes():
    assert fixed_permutation(10).tolist() == ORDER
