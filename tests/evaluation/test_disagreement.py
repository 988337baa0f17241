"""The shares of images on which classifiers differ, against loops and the published table."""

import json

import numpy as np
import pytest

from keras_deit.core.errors import InputError
from keras_deit.evaluation import disagreement


def test_it_is_the_share_of_images_with_different_classes():
    rng = np.random.default_rng(0)
    names = ["ground truth", "teacher", "class", "both"]
    predictions = {name: rng.integers(3, size=50) for name in names}
    found = disagreement(predictions)
    assert json.loads(json.dumps(found)) == found
    assert found["names"] == names
    for row, first in zip(found["matrix"], names, strict=True):
        for value, second in zip(row, names, strict=True):
            pairs = zip(predictions[first], predictions[second], strict=True)
            assert value == sum(int(a != b) for a, b in pairs) / 50
    matrix = np.array(found["matrix"])
    assert (matrix == matrix.T).all() and not matrix.diagonal().any()
    # A metric: the way over a third is no shorter.
    assert (matrix[:, :, None] <= matrix[:, None, :] + matrix.T[None] + 1e-12).all()
    truth = predictions["ground truth"]
    assert matrix[0, 2] == pytest.approx(1 - np.mean(predictions["class"] == truth), abs=1e-12)


def test_one_name_and_lists():
    assert disagreement({"a": [1, 2]}) == {"names": ["a"], "matrix": [[0.0]]}
    assert disagreement({"a": [1, 2], "b": [1, 0]})["matrix"] == [[0.0, 0.5], [0.5, 0.0]]


@pytest.mark.parametrize(
    "predictions",
    [{}, {"a": []}, {"a": [1, 2], "b": [1]}, {"a": [0.5, 1.0]}, {"a": [[1, 2]]}, {"a": 1}],
)
def test_what_cannot_be_compared_is_one_line(predictions):
    with pytest.raises(InputError, match="one class index per image") as error:
        disagreement(predictions)
    assert "\n" not in str(error.value)
