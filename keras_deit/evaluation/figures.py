"""Figures of a classifier's answers: accuracy, ranking, calibration, by class.

They are scikit-learn's where it has them, by the name that it has there. What is written here is
the interval of top-1, the calibration error and the temperature.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats
from sklearn import metrics

from keras_deit.core.errors import InputError

BINS = 15
# Where the best temperature is looked for: as a logarithm, because it is a factor.
_LOG_TEMPERATURES = (np.log(0.01), np.log(100.0))
_MEANS = ("precision", "recall", "f1")
# How far from one the sum of probabilities in half precision may be.
_SUM_TOLERANCE = 1e-2


def probabilities(outputs) -> np.ndarray:
    """Returns the probabilities of the classes, float64 (images, classes).

    Args:
        outputs: logits or probabilities (images, classes). Rows without negative numbers whose sums
            are one are probabilities.

    Raises:
        InputError: they have another shape, or are not finite.
    """
    outputs = np.asarray(outputs, np.float64)
    if outputs.ndim != 2 or 0 in outputs.shape:
        raise InputError(
            f"Logits are (images, classes), one or more of both. Received: {outputs.shape}"
        )
    if not np.isfinite(outputs).all():
        raise InputError("Logits should be finite numbers.")
    if _are_probabilities(outputs):
        # Divided by their sums, equal ones of two images might become different.
        return outputs
    return scipy.special.softmax(outputs, axis=1)


def classification_figures(labels, outputs, temperature: float | None = None) -> dict:
    """Returns the figures of all images.

    Args:
        labels: class indices, integers (images,).
        outputs: logits or probabilities (images, classes).
        temperature: by which the logits are divided for `ece_scaled`, see `fit_temperature`.

    Returns:
        `top1`, the share of images whose most probable class is right (of equal ones the first
        counts), with `top1_interval`, its percentile bootstrap interval of 95 %; `top5` (of equal
        ones scikit-learn counts the last; one if there are no more than five classes);
        `balanced_accuracy`, the mean recall of the classes that have images; `macro_precision`,
        `macro_recall` and `macro_f1`, the means over all classes that occur among the labels or the
        answers; `macro_auc`, the mean area under the curve of one class against the rest, over the
        classes of which there are images and others; absent if there is none; `log_loss` in nats;
        `ece`, the expected calibration error over 15 bins; and with a temperature, that and
        `ece_scaled`, the error of the scaled logits.

    Raises:
        InputError: there are no images, the shapes do not fit, or the logits are not finite.
    """
    chances = probabilities(outputs)
    labels = _checked_labels(labels, chances)
    answers = _answers(outputs)
    figures = {"top1": float(metrics.accuracy_score(labels, answers))}
    figures["top1_interval"] = list(top1_interval(labels == answers))
    figures["top5"] = _top5(labels, chances)
    figures["balanced_accuracy"] = _quiet(metrics.balanced_accuracy_score, labels, answers)
    means = metrics.precision_recall_fscore_support(
        labels, answers, average="macro", zero_division=0
    )
    figures |= {f"macro_{n}": float(mean) for n, mean in zip(_MEANS, means[:3], strict=True)}
    if (auc := _macro_auc(labels, chances)) is not None:
        figures["macro_auc"] = auc
    figures["log_loss"] = _log_loss(labels, chances)
    figures["ece"] = calibration_error(reliability_bins(labels, outputs))
    if temperature is not None:
        scaled = _logits(outputs) / temperature
        figures["temperature"] = float(temperature)
        figures["ece_scaled"] = calibration_error(reliability_bins(labels, scaled))
    return figures


def figures_by_class(labels, outputs, class_names: Sequence[str]) -> dict[str, dict]:
    """Returns precision, recall, F1 and the number of images of each class, by its name.

    What has no images or no answers is zero, as in scikit-learn with zero_division=0.

    Args:
        labels, outputs: as for `classification_figures`.
        class_names: the names of the classes by index.
    """
    labels = _checked_labels(labels, np.asarray(outputs))
    columns = metrics.precision_recall_fscore_support(
        labels, _answers(outputs), labels=range(len(class_names)), zero_division=0
    )
    return {
        name: {
            **{figure: float(value) for figure, value in zip(_MEANS, row, strict=False)},
            "examples": int(row[-1]),
        }
        for name, *row in zip(class_names, *columns, strict=True)
    }


def confusion_counts(labels, outputs) -> list[list[int]]:
    """Returns the number of images by class (rows) and most probable class (columns)."""
    outputs = np.asarray(outputs)
    labels = _checked_labels(labels, outputs)
    classes = range(outputs.shape[1])
    return metrics.confusion_matrix(labels, _answers(outputs), labels=classes).tolist()


def reliability_bins(labels, outputs) -> list[dict]:
    """Returns how often answers of about the same probability are right.

    Args:
        labels, outputs: as for `classification_figures`.

    Returns:
        15 bins of equal width, each with its bounds `low` and `high`, of which the upper one
        belongs to it (C. Guo et al., "On Calibration of Modern Neural Networks", 2017), the `count`
        of images in it and, if there are some, their mean `confidence` (the probability of the
        most probable class) and `accuracy`.
    """
    chances = probabilities(outputs)
    labels = _checked_labels(labels, chances)
    confidence, hits = chances.max(axis=1), _answers(outputs) == labels
    edges = np.linspace(0, 1, BINS + 1)
    indices = np.clip(np.searchsorted(edges, confidence) - 1, 0, BINS - 1)
    bins = []
    for index in range(BINS):
        inside = indices == index
        values = {"low": float(edges[index]), "high": float(edges[index + 1])}
        values["count"] = int(inside.sum())
        if values["count"]:
            values["confidence"] = float(confidence[inside].mean())
            values["accuracy"] = float(hits[inside].mean())
        bins.append(values)
    return bins


def calibration_error(bins: list[dict]) -> float:
    """Returns the expected calibration error of `reliability_bins`, in [0, 1]."""
    total = sum(each["count"] for each in bins)
    gaps = (
        each["count"] * abs(each["accuracy"] - each["confidence"]) for each in bins if each["count"]
    )
    return float(sum(gaps) / total)


def fit_temperature(labels, outputs) -> float:
    """Returns the number by which logits are divided for the least log loss, in [0.01, 100].

    Args:
        labels, outputs: as for `classification_figures`, of images that are not evaluated
            (temperature scaling, C. Guo et al., 2017).
    """
    logits = _logits(outputs)
    labels = _checked_labels(labels, logits)
    of_label = np.arange(len(labels)), labels

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(np.mean(scipy.special.logsumexp(scaled, axis=1) - scaled[of_label]))

    if logits.shape[1] == 1:
        return 1.0
    found = scipy.optimize.minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded")
    return float(np.exp(found.x))


def top1_interval(hits: np.ndarray) -> tuple[float, float]:
    """Returns the percentile bootstrap interval of 95 % for the share of hits.

    A resampled number of hits is binomial, so its quantiles are known without drawing samples.

    Args:
        hits: whether each answer is right, booleans (images,).
    """
    low, high = scipy.stats.binom.ppf([0.025, 0.975], len(hits), np.mean(hits)) / len(hits)
    return float(low), float(high)


def _are_probabilities(outputs: np.ndarray) -> bool:
    sums = outputs.sum(axis=1)
    return bool((outputs >= 0).all() and (np.abs(sums - 1) < _SUM_TOLERANCE).all())


def _logits(outputs) -> np.ndarray:
    """Returns logits, which of probabilities are their logarithms, float64."""
    outputs = np.asarray(outputs, np.float64)
    if not _are_probabilities(outputs):
        return outputs
    return np.log(np.maximum(outputs, np.finfo(np.float64).tiny))


def _answers(outputs) -> np.ndarray:
    # Not of the probabilities, in which different logits may have become equal.
    return np.argmax(np.asarray(outputs), axis=1)


def _checked_labels(labels, outputs: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    count, classes = outputs.shape
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise InputError(
            f"There should be {count} labels, one integer for each row of the logits. Received: "
            f"{labels.dtype} {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(
            f"Labels should be 0 to {classes - 1}. Received: {labels.min()} to {labels.max()}"
        )
    return labels


def _top5(labels: np.ndarray, chances: np.ndarray) -> float:
    classes = chances.shape[1]
    if classes <= 5:
        return 1.0
    return float(metrics.top_k_accuracy_score(labels, chances, k=5, labels=range(classes)))


def _macro_auc(labels: np.ndarray, chances: np.ndarray) -> float | None:
    """Returns the mean over the classes that scikit-learn has an area for."""
    # One class after the other: scikit-learn refuses labels in which a class is missing.
    present = np.unique(labels)
    if len(present) == 1:
        return None
    areas = [metrics.roc_auc_score(labels == index, chances[:, index]) for index in present]
    return float(np.mean(areas))


def _log_loss(labels: np.ndarray, chances: np.ndarray) -> float:
    if chances.shape[1] == 1:
        return 0.0
    chances = chances / chances.sum(axis=1, keepdims=True)
    return float(metrics.log_loss(labels, chances, labels=range(chances.shape[1])))


def _quiet(metric, *arguments) -> float:
    """Returns a metric without its warning about classes of which there are no images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return float(metric(*arguments))
