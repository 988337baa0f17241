"""The figures of a classifier equal scikit-learn's, and have an answer for any labels."""

import json
import warnings

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn import metrics

from keras_deit import InputError
from keras_deit.evaluation.figures import (
    calibration_error,
    classification_figures,
    confusion_counts,
    figures_by_class,
    fit_temperature,
    reliability_bins,
    top1_interval,
)

CLASSES = 7


def answers(count=400, classes=CLASSES, present=None, scale=2.0):
    """Returns random labels, of `present` classes only, and logits that know something of them."""
    draws = np.random.default_rng(0)
    labels = draws.choice(present or classes, count)
    logits = draws.normal(size=(count, classes))
    logits[np.arange(count), labels] += 1
    return labels, (scale * logits).astype("float32")


def tied(count=300):
    """Returns logits of few values, so that many are equal."""
    labels, logits = answers(count)
    return labels, np.round(logits / 4)


CASES = {
    "random": answers(),
    "two classes": answers(classes=2),
    "a class without images": answers(present=[0, 2, 3, 5]),
    "two classes of seven": answers(present=[1, 4]),
    "one class of seven": answers(present=[3]),
    "one image": answers(count=1),
    "ties": tied(),
    "all equal": (answers()[0], np.zeros((400, CLASSES))),
    "sure": answers(scale=500.0),
    "one class": (np.zeros(5, int), np.ones((5, 1))),
}


def expected_figures(labels, logits):
    """Returns scikit-learn's figures, with its warnings about what is missing left out."""
    chances, found = softmax(np.float64(logits), axis=1), np.argmax(logits, 1)
    classes = range(logits.shape[1])
    means = {"average": "macro", "zero_division": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "top1": metrics.accuracy_score(labels, found),
            "balanced_accuracy": metrics.balanced_accuracy_score(labels, found),
            "macro_precision": metrics.precision_score(labels, found, **means),
            "macro_recall": metrics.recall_score(labels, found, **means),
            "macro_f1": metrics.f1_score(labels, found, **means),
        }
        if len(classes) > 1:
            expected["log_loss"] = metrics.log_loss(labels, chances, labels=classes)
        if len(classes) > 5:
            expected["top5"] = metrics.top_k_accuracy_score(labels, chances, k=5, labels=classes)
        if 2 < len(classes) == len(set(labels.tolist())):
            expected["macro_auc"] = metrics.roc_auc_score(labels, chances, multi_class="ovr")
    return expected


@pytest.mark.parametrize("name", CASES)
def test_figures_equal_those_of_scikit_learn(name):
    labels, logits = CASES[name]
    found = classification_figures(labels, logits, 1.5)
    expected = expected_figures(labels, logits)
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-6)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    # Probabilities are answers too.
    chances = classification_figures(labels, softmax(np.float64(logits), axis=1), 1.5)
    if name != "sure":  # Logits that are further apart than float64 can tell.
        assert {**chances, "top1_interval": 0} == pytest.approx({**found, "top1_interval": 0})


def test_recall_is_top1_on_classes_of_equal_size_alone():
    labels, logits = answers(count=50 * CLASSES)
    balanced = np.arange(50 * CLASSES) % CLASSES
    found = classification_figures(balanced, logits, 1.5)
    assert found["macro_recall"] == pytest.approx(found["top1"], abs=1e-12)
    found = classification_figures(labels, logits, 1.5)
    assert abs(found["macro_recall"] - found["top1"]) > 1e-4


@pytest.mark.parametrize("name", CASES)
def test_classes_and_confusion_equal_those_of_scikit_learn(name):
    labels, logits = CASES[name]
    names = [f"class {index}" for index in range(logits.shape[1])]
    found, by_class = np.argmax(logits, 1), figures_by_class(labels, logits, names)
    report = metrics.classification_report(
        *(labels, found), labels=range(len(names)), target_names=names, output_dict=True,
        zero_division=0,
    )  # fmt: skip
    for class_name, figures in by_class.items():
        expected = report[class_name]
        assert figures.pop("examples") == expected.pop("support")
        expected["f1"] = expected.pop("f1-score")
        assert figures == pytest.approx(expected, abs=1e-6)
    matrix = np.array(confusion_counts(labels, logits))
    assert np.array_equal(matrix, metrics.confusion_matrix(labels, found, labels=range(len(names))))


def test_the_area_is_the_mean_over_the_classes_that_have_one():
    labels, logits = CASES["a class without images"]
    chances = softmax(np.float64(logits), axis=1)
    areas = [metrics.roc_auc_score(labels == k, chances[:, k]) for k in (0, 2, 3, 5)]
    assert classification_figures(labels, logits)["macro_auc"] == pytest.approx(np.mean(areas))
    assert "macro_auc" not in classification_figures(*CASES["one class of seven"])
    labels, logits = CASES["two classes"]
    area = metrics.roc_auc_score(labels, softmax(np.float64(logits), axis=1)[:, 1])
    assert classification_figures(labels, logits)["macro_auc"] == pytest.approx(area)


def test_five_classes_have_no_wrong_five():
    assert classification_figures(*answers(classes=5))["top5"] == 1


def test_the_interval_is_that_of_resampled_images():
    hits = np.random.default_rng(1).random(300) < 0.8
    draws = np.random.default_rng(2).integers(0, 300, (20_000, 300))
    expected = np.quantile(hits[draws].mean(axis=1), [0.025, 0.975])
    assert top1_interval(hits) == pytest.approx(tuple(expected), abs=0.004)
    assert top1_interval(np.ones(4, bool)) == (1, 1)
    assert top1_interval(np.zeros(4, bool)) == (0, 0)


def test_the_calibration_error_is_that_of_its_bins():
    labels, logits = CASES["random"]
    chances = softmax(np.float64(logits), axis=1)
    confidence, hits = chances.max(1), np.argmax(logits, 1) == labels
    bins, error = reliability_bins(labels, logits), 0.0
    assert len(bins) == 15 and sum(each["count"] for each in bins) == len(labels)
    for each in bins:
        inside = (confidence > each["low"]) & (confidence <= each["high"])
        assert each["count"] == inside.sum()
        if inside.any():
            assert each["accuracy"] == pytest.approx(hits[inside].mean())
            assert each["confidence"] == pytest.approx(confidence[inside].mean())
            error += inside.mean() * abs(hits[inside].mean() - confidence[inside].mean())
        else:
            assert "accuracy" not in each and "confidence" not in each
    assert calibration_error(bins) == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize("factor", [0.2, 1.0, 8.0])
def test_the_temperature_undoes_what_the_logits_are_multiplied_by(factor):
    draws = np.random.default_rng(0)
    logits = 2 * draws.normal(size=(4000, 5))
    labels = np.argmax(log_softmax(logits, axis=1) + draws.gumbel(size=logits.shape), axis=1)
    temperature = fit_temperature(labels, factor * logits)
    assert temperature == pytest.approx(factor, rel=0.05)
    figures = classification_figures(labels, factor * logits, temperature)
    assert figures["ece_scaled"] < 0.03
    # Also of probabilities.
    chances = softmax(factor * logits, axis=1)
    assert fit_temperature(labels, chances) == pytest.approx(temperature, rel=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_there_is_a_temperature_for_any_labels(name):
    assert 0.0099 < fit_temperature(*CASES[name]) < 101


@pytest.mark.parametrize(
    ("labels", "logits", "words"),
    [
        ([], np.zeros((0, 3)), "one or more"),
        ([0], np.zeros(3), r"images, classes.*\(3,\)"),
        ([0, 1], np.zeros((3, 2)), "3 labels"),
        ([0.5], np.zeros((1, 2)), "integer"),
        ([2], np.zeros((1, 2)), "0 to 1"),
        ([-1], np.zeros((1, 2)), "0 to 1"),
        ([0], np.array([[0.0, np.nan]]), "finite"),
    ],
)
def test_what_cannot_be_figures_is_one_line(labels, logits, words):
    with pytest.raises(InputError, match=words):
        classification_figures(np.asarray(labels), logits)
