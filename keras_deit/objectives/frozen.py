"""What frozen features are worth: classes by their nearest neighbors and by a linear probe."""

import logging

import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.objectives import retrieval
from keras_deit.objectives.batch import Features

_logger = logging.getLogger("keras_deit")
# With a thousand classes each array of the probe then takes 0.4 GB.
PROBE_IMAGES = 100_000


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
    found = retrieval.knn_top1(
        *(scored.features, scored.labels, train.features, train.labels),
        *((neighbors,), temperature),
    )
    return found[neighbors]


def linear_probe_top1(train: Features, scored: Features) -> float:
    """Returns the top-1 of a logistic regression on frozen features, scaled to unit variance.

    It is scikit-learn's with its default regularization, fitted to convergence on the features of
    the evaluation view. DINO's `eval_linear.py` trains by SGD on augmented images instead, and
    searches for the learning rate. Of more than `PROBE_IMAGES` training images it is fitted to so
    many, drawn at random but the same every time, and a warning says so.

    Args:
        train: features that it is fitted to.
        scored: features of the images to classify.
    """
    from sklearn.linear_model import LogisticRegression

    features, labels = train.features, train.labels
    if len(labels) > PROBE_IMAGES:
        _logger.warning(
            "The linear probe is fitted to %d of the %d training images.", PROBE_IMAGES, len(labels)
        )
        chosen = np.random.default_rng(0).choice(len(labels), PROBE_IMAGES, replace=False)
        features, labels = features[chosen], labels[chosen]
    mean, std = features.mean(axis=0), features.std(axis=0)
    scale = 1 / np.where(std > 0, std, 1.0)
    probe = LogisticRegression(max_iter=1000)
    probe.fit((features - mean) * scale, labels)
    return float(probe.score((scored.features - mean) * scale, scored.labels))
