"""Two levels of labels: a file, folders two deep, and the groups of the digits."""

import json

import numpy as np
import pytest
from test_folder import COLORS, write_image

from keras_deit.core.errors import InputError
from keras_deit.data import dataset_size, load_dataset, take_examples

GROUPS = {"ant": "insect", "bee": "insect", "cat": "mammal"}


@pytest.fixture(scope="module")
def two_deep(tmp_path_factory):
    root = tmp_path_factory.mktemp("deep")
    for fine, coarse in GROUPS.items():
        for number in range(10):
            write_image(root / coarse / fine / f"{number}.png", COLORS[fine])
    return root


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    root = tmp_path_factory.mktemp("flat")
    for fine, color in COLORS.items():
        for number in range(10):
            write_image(root / fine / f"{number}.png", color)
    return root


def check(dataset, names):
    assert dataset.class_names == ("insect", "mammal") and dataset.num_classes == 2
    assert dataset.fine_class_names == names
    for source in (dataset.train, dataset.validation, dataset.test):
        for index in range(len(source)):
            image, label = source[index]
            same, fine = source.fine[index]
            np.testing.assert_array_equal(image, same)
            np.testing.assert_array_equal(image[0, 0], list(COLORS.values())[fine])
            assert label == dataset.coarse_of[fine] == source.labels[index]
    taken = take_examples(dataset.train, 5)
    assert [dataset.coarse_of[y] for y in taken.fine.labels] == taken.labels.tolist()


def test_a_file_groups_the_classes(flat, tmp_path):
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(GROUPS))
    check(load_dataset(f"folder:{flat}", coarse=file), ("ant", "bee", "cat"))
    check(load_dataset(f"folder:{flat}", coarse=GROUPS), ("ant", "bee", "cat"))
    assert load_dataset(f"folder:{flat}").coarse_of == ()


def test_folders_two_deep_group_the_classes(two_deep):
    dataset = load_dataset(f"folder:{two_deep}", coarse="folders")
    check(dataset, ("insect/ant", "insect/bee", "mammal/cat"))
    assert load_dataset(f"folder:{two_deep}").class_names == ("insect", "mammal")
    size = dataset_size(f"folder:{two_deep}", coarse="folders")
    assert (size.classes, size.examples) == (2, len(dataset.train))


def test_digits_have_three_groups():
    dataset = load_dataset("digits", coarse="digits")
    assert dataset.class_names == ("curves", "loops", "strokes")
    groups = [dataset.class_names[i] for i in dataset.coarse_of]
    assert [groups[int(digit)] for digit in "0125"] == ["loops", "strokes", "curves", "curves"]
    assert "3 coarse classes, 10 fine ones" in dataset.notes[-1]


def test_what_does_not_fit_is_said_in_one_line(flat, two_deep, tmp_path):
    file = tmp_path / "labels.json"
    cases = [
        (flat, {"ant": "insect", "bee": "insect"}, "no coarse class for cat"),
        (flat, {**GROUPS, "dog": "mammal"}, "no class of the data: dog"),
        (flat, dict.fromkeys(GROUPS, "animal"), "two coarse classes"),
        (flat, {"ant": 1}, "fine class"),
        (flat, tmp_path / "none.json", "none.json"),
        (flat, "folders", "COARSE/FINE"),
        (flat, "digits", "dataset digits"),
    ]
    for folder, grouping, words in cases:
        with pytest.raises(InputError, match=words) as error:
            load_dataset(f"folder:{folder}", coarse=grouping)
        assert "\n" not in str(error.value)
    file.write_text("[1, 2]")
    with pytest.raises(InputError, match=r"labels\.json"):
        load_dataset("digits", coarse=file)
    with pytest.raises(InputError, match="folder:PATH"):
        load_dataset("digits", coarse="folders")
