"""The formats in which the labels of a teacher are stored, against NumPy."""

import numpy as np
import pytest

from keras_deit import InputError
from keras_deit.teachers import LabelFormat


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(0, 4, (50, 40)).astype("float32")


def test_a_hard_label_is_the_decision_in_two_bytes(logits):
    labels = LabelFormat(40)
    stored = labels.encode(logits)
    assert {name: values.nbytes for name, values in stored.items()} == {"classes": 100}
    np.testing.assert_array_equal(labels.logits(stored), np.eye(40)[logits.argmax(-1)])


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_soft_label_keeps_the_largest_and_spreads_the_rest(logits, temperature):
    labels = LabelFormat(40, "soft", temperature, top_k=5)
    stored = labels.encode(logits)
    wanted = softmax(logits.astype("float64") / temperature)
    for row in wanted:
        small = np.argsort(-row)[5:]
        row[small] = row[small].mean()
    replayed = labels.logits(stored)
    np.testing.assert_allclose(softmax(replayed / temperature), wanted, rtol=2e-3, atol=1e-4)
    np.testing.assert_array_equal(replayed.argmax(-1), logits.argmax(-1))


def test_the_stored_distance_is_that_of_the_distributions(logits):
    labels = LabelFormat(40, "soft", 2.0, top_k=3)
    stored = labels.encode(logits)
    true, replayed = softmax(logits / 2.0), softmax(labels.logits(stored) / 2.0)
    distance = np.abs(true - replayed).sum(-1) / 2
    np.testing.assert_allclose(stored["distance"], distance, rtol=2e-3, atol=1e-5)
    assert 0.01 < distance.mean() < 0.5


def test_all_classes_are_stored_to_half_precision(logits):
    labels = LabelFormat(40, "soft", 1.0, top_k=100)
    stored = labels.encode(logits)
    assert stored["probabilities"].shape == (50, 40)
    assert stored["distance"].max() < 1e-3


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("level", [0.0, 2.0])
def test_equal_probabilities_keep_the_decision(temperature, level):
    # As float16 two are equal, and the other one comes first.
    logits = np.array([[level, 0.0, 1e-5, 0.0], [0.0, 0.0, 0.0, 1e-5]], "float32")
    labels = LabelFormat(4, "soft", temperature, top_k=4)
    replayed = labels.logits(labels.encode(logits))
    np.testing.assert_array_equal(replayed.argmax(-1), logits.argmax(-1))


def test_a_tie_of_small_probabilities_keeps_the_decision():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1e-5, (200, 30)).astype("float32")
    labels = LabelFormat(30, "soft", 3.0, top_k=10)
    replayed = labels.logits(labels.encode(logits))
    np.testing.assert_array_equal(replayed.argmax(-1), logits.argmax(-1))


def test_an_output_that_is_not_finite_is_refused(logits):
    logits[7, 3] = np.nan
    with pytest.raises(InputError, match="not finite"):
        LabelFormat(40).encode(logits)
