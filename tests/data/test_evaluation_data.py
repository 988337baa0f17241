"""Data to evaluate on: which splits folders have that need no images for training."""

import os
import shutil

import cv2
import numpy as np
import pytest

from keras_deit.core.errors import InputError
from keras_deit.data import load_evaluation_data


def write_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.zeros((6, 9, 3), np.uint8))[1].tobytes())


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["ant", "bee"], {"test": 4}),
        (["ant"], {"test": 2}),
        (["Test/ant"], {"test": 2}),
        (["valid/ant", "valid/bee"], {"validation": 4}),
        (["val/ant", "test/bee"], {"validation": 2, "test": 2}),
        # Too few images for a validation split, which a test set does not need.
        (["train/ant", "train/bee", "test/bee"], {"train": 4, "test": 2}),
        # A class that is named as a split is.
        (["test", "ant"], {"test": 4}),
        (["train", "ant"], {"test": 4}),
    ],
)
def test_data_to_evaluate_on_need_no_split_train(tmp_path, paths, expected):
    for path in paths:
        for number in range(2):
            write_image(tmp_path / path / f"{number}.png")
    (tmp_path / "empty").mkdir()
    dataset = load_evaluation_data(f"folder:{tmp_path}")
    assert dataset.examples == expected
    assert {*dataset.class_names} == {os.path.basename(path) for path in paths}
    reported = getattr(dataset, dataset.reported_split)
    for path, label in zip(reported.paths, reported.labels, strict=True):
        assert os.path.basename(os.path.dirname(path)) == dataset.class_names[label]


def test_data_to_evaluate_on_have_classes(tmp_path):
    (tmp_path / "test").mkdir()
    write_image(tmp_path / "test" / "0.png")
    with pytest.raises(InputError, match="no image has a label: expected test/CLASS"):
        load_evaluation_data(f"folder:{tmp_path}")
    shutil.rmtree(tmp_path / "test")
    (tmp_path / "ant").mkdir()
    with pytest.raises(InputError, match="No images"):
        load_evaluation_data(f"folder:{tmp_path}")
