"""Scores of frozen features against counts by hand."""

import numpy as np
import pytest

from keras_deit.core.errors import InputError
from keras_deit.objectives import Features, frozen
from keras_deit.objectives.frozen import knn_top1, linear_probe_top1


def features(values, labels):
    return Features(np.asarray(values, "float32"), np.asarray(labels))


def test_near_neighbors_have_more_votes_than_many():
    train = features([[1, 0], [2, 0], [0.6, 0.8], [0.6, 0.8], [0.6, 0.8]], [1, 1, 0, 0, 0])
    scored = features([[3, 0.01], [0, 2]], [1, 1])
    # By cosine the first image has two neighbors of its class, and three far ones of the other.
    assert knn_top1(train, scored, neighbors=5) == 0.5
    assert knn_top1(train, scored, neighbors=5, temperature=100) == 0.0
    with pytest.raises(InputError, match="neighbors"):
        knn_top1(train, scored, neighbors=0)


def test_a_linear_probe_finds_a_direction():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    values = rng.normal(size=(200, 5))
    values[:, 2] += 6 * labels
    values[:, 4] = 1
    train, scored = (features(values[rows], labels[rows]) for rows in (slice(150), slice(150, 200)))
    assert linear_probe_top1(train, scored) > 0.95


def test_a_linear_probe_is_fitted_to_so_many_images_as_it_can_bear(monkeypatch, caplog):
    monkeypatch.setattr(frozen, "PROBE_IMAGES", 20)
    values = np.repeat([[0.0], [1.0]], 50, axis=0)
    train = features(values, np.repeat([0, 1], 50))
    assert linear_probe_top1(train, train) == 1.0
    assert "20 of the 100 training images" in caplog.text
