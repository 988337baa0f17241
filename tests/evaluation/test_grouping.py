"""Figures of videos against their definition."""

import types

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics

from keras_deit.core.errors import InputError
from keras_deit.evaluation.grouping import figures_of_videos
from keras_deit.evaluation.measuring import Answers

# By video, its label and number of faces.
VIDEOS = {"test/fake/a.mp4": (0, 3), "test/real/a.mp4": (1, 1), "test/real/b.mp4": (1, 4)}
PATHS = [
    f"{video}__frame_{index:06d}.jpg"
    for video, (_, count) in VIDEOS.items()
    for index in range(count)
]


def answers(logits, indices):
    labels = np.concatenate([[label] * count for label, count in VIDEOS.values()])[indices]
    return Answers({"scores": {"class": logits}}, labels, np.array(indices), 1.0)


def test_the_probability_of_a_video_is_the_mean_over_its_faces():
    """Faces come in any order, and one that cannot be read is missing."""
    indices = [7, 0, 3, 2, 5, 4, 1]
    logits = np.random.default_rng(0).normal(0, 2, (len(indices), 2)).astype("float32")
    found = figures_of_videos(answers(logits, indices), types.SimpleNamespace(paths=PATHS))
    chances = softmax(logits.astype("float64"), axis=1)
    groups = [[1, 3, 6], [2], [0, 4, 5]]
    means = np.array([chances[group].mean(axis=0) for group in groups])
    labels, figures = [0, 1, 1], found["figures"]["class"]
    assert found["examples"] == 3
    assert figures["top1"] == pytest.approx(np.mean(means.argmax(axis=1) == labels))
    assert figures["log_loss"] == pytest.approx(metrics.log_loss(labels, means), abs=1e-12)
    assert figures["macro_auc"] == pytest.approx(metrics.roc_auc_score(labels, means[:, 1]))


def test_logits_that_are_not_finite_have_no_figures():
    logits = np.full((8, 2), np.nan, "float32")
    found = figures_of_videos(answers(logits, range(8)), types.SimpleNamespace(paths=PATHS))
    assert found == {"examples": 3, "figures": {}}


def test_a_file_of_another_name_is_one_line():
    source = types.SimpleNamespace(paths=[*PATHS[:-1], "test/real/c.jpg"])
    with pytest.raises(InputError, match=r"VIDEO__frame_NUMBER\.jpg.*test/real/c\.jpg"):
        figures_of_videos(answers(np.zeros((8, 2)), range(8)), source)
