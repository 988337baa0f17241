"""What frozen features are worth: classes by their nearest neighbors and by a linear probe."""

import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.objectives.objective import Features

# The similarities of so many images at a time are kept, 4 bytes for each training image.
_CHUNK = 256


def knn_top1(
    train: Features, scored: Features, neighbors: int = 20, temperature: float = 0.07
) -> float:
    """Returns the top-1 of weighted nearest neighbors ("Unsupervised Feature Learning via
    Non-Parametric Instance Discrimination", Wu et al. 2018, §3.4, as in DINO's `eval_knn.py`).

    Each of the nearest training images, by the cosine s of the features, votes for its class with
    the weight exp(s / temperature).

    Args:
        train: features of the images that vote.
        scored: features of the images to classify.
        neighbors: number of votes; fewer if there are not as many training images.
        temperature: of the weights.

    Returns:
        The fraction of images whose class has the most votes.

    Raises:
        InputError: `neighbors` or `temperature` is out of range.
    """
    if neighbors < 1 or temperature <= 0:
        raise InputError(
            "neighbors should be 1 or more and the temperature of their votes above 0. Received: "
            f"{neighbors}, {temperature}"
        )
    known, unknown = _unit(train.features), _unit(scored.features)
    neighbors = min(neighbors, len(known))
    classes = int(max(train.labels.max(), scored.labels.max())) + 1
    hits = 0
    for start in range(0, len(unknown), _CHUNK):
        similarity = unknown[start : start + _CHUNK] @ known.T
        nearest = np.argpartition(-similarity, neighbors - 1, axis=1)[:, :neighbors]
        weights = np.take_along_axis(similarity, nearest, axis=1)
        votes = np.zeros((len(similarity), classes))
        rows = np.arange(len(similarity))[:, None]
        # At a cosine of 1 the weight is 1 and not exp(14).
        np.add.at(votes, (rows, train.labels[nearest]), np.exp((weights - 1) / temperature))
        hits += int(np.sum(votes.argmax(axis=1) == scored.labels[start : start + _CHUNK]))
    return hits / len(unknown)


def linear_probe_top1(train: Features, scored: Features) -> float:
    """Returns the top-1 of a logistic regression on frozen features, scaled to unit variance.

    It is scikit-learn's with its default regularization, fitted to convergence on the features of
    the evaluation view. DINO's `eval_linear.py` trains by SGD on augmented images instead, and
    searches for the learning rate.

    Args:
        train: features that it is fitted to.
        scored: features of the images to classify.
    """
    from sklearn.linear_model import LogisticRegression

    mean, std = train.features.mean(axis=0), train.features.std(axis=0)
    scale = 1 / np.where(std > 0, std, 1.0)
    probe = LogisticRegression(max_iter=1000)
    probe.fit((train.features - mean) * scale, train.labels)
    return float(probe.score((scored.features - mean) * scale, scored.labels))


def _unit(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, "float32")
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
