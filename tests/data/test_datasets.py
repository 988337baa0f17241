"""Names and sizes of datasets, and the fixed order of `take_examples`."""

import numpy as np
import pytest

from keras_deit.core.errors import InputError
from keras_deit.data.datasets import DatasetSize, dataset_size, load_dataset, take_examples
from keras_deit.data.source import ArraySource


@pytest.mark.parametrize(
    ("name", "close"), [("cifar1O", "cifar10"), ("digit", "digits"), ("folder", "folder:PATH")]
)
def test_unknown_dataset_lists_close_names(name, close, tmp_path):
    with pytest.raises(InputError, match=f"dataset '{name}'") as caught:
        load_dataset(name, str(tmp_path))
    assert close in str(caught.value)
    assert "\n" not in str(caught.value)


def labeled_source(labels):
    labels = np.asarray(labels)
    images = np.broadcast_to(
        np.arange(len(labels), dtype=np.uint8)[:, None, None, None], (len(labels), 2, 2, 3)
    )
    return ArraySource(images, labels)


@pytest.mark.parametrize("count", [1, 10, 25, 300, 1257])
def test_subsets_are_balanced_over_the_classes(count):
    train = load_dataset("digits").train
    taken = take_examples(train, count)
    assert len(taken) == count
    counts = np.bincount(taken.labels, minlength=10)
    available = np.bincount(train.labels)
    short = counts == available
    assert counts[~short].max(initial=0) - counts[~short].min(initial=count) <= 1
    assert len(set(taken._indices.tolist())) == count


def test_the_size_of_a_dataset_is_known_without_reading_images(tmp_path):
    assert dataset_size("digits") == DatasetSize("digits", 10, 1257)
    assert dataset_size("digits").held_out == "validation 180, test 360"
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for number in range(10):
            (tmp_path / name / f"{number}.png").write_bytes(b"no image")
    size = dataset_size(f"folder:{tmp_path}")
    assert (size.classes, size.examples) == (2, 14)


def test_other_classes_fill_up_for_a_class_with_too_few_examples():
    taken = take_examples(labeled_source([0] * 20 + [1] * 2 + [2] * 20), 12)
    assert np.bincount(taken.labels).tolist() == [5, 2, 5]


def test_a_smaller_subset_is_the_start_of_a_larger_one():
    train = load_dataset("digits").train
    few, many, again = (take_examples(train, count) for count in (30, 300, 300))
    np.testing.assert_array_equal(many._indices[:30], few._indices)
    np.testing.assert_array_equal(many._indices, again._indices)
    assert sorted(many._indices) != list(range(300))
    image, label = many[4]
    expected, expected_label = train[int(many._indices[4])]
    np.testing.assert_array_equal(image, expected)
    assert label == expected_label == many.labels[4]


def test_examples_without_known_labels_come_from_a_permutation():
    class Unlabeled:
        def __len__(self):
            return 50

        def __getitem__(self, index):
            return np.zeros((1, 1, 3), np.uint8), index

    labels = [take_examples(Unlabeled(), 20)[i][1] for i in range(20)]
    assert len(set(labels)) == 20 and labels != sorted(labels)
    assert labels == [take_examples(Unlabeled(), 50)[i][1] for i in range(20)]


@pytest.mark.parametrize("count", [0, -1, 7])
def test_impossible_counts_are_rejected(count):
    with pytest.raises(InputError, match=f"{count} of 6 examples"):
        take_examples(labeled_source([0, 1] * 3), count)
