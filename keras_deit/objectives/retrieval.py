"""Figures of embeddings: neighbors that vote on a class, and images ranked by similarity.

As in "Grafit: Learning fine-grained image representations with coarse labels" (Touvron et al.,
2021, §3.3 and §4.1). Everything is NumPy and exact. A collection of N images is compared with a
block of queries at a time, so the memory is some multiples of 4·N·`BLOCK` bytes; ranking takes
O(N log N) for a query.
"""

from collections.abc import Iterator, Sequence

import numpy as np

# Numbers of neighbors among which the best on the validation split is chosen (§4.1).
NEIGHBORS = (10, 15, 20, 25, 30)
# Temperature σ of the votes and of the neighborhood loss.
SIGMA = 0.05
# Queries at a time.
BLOCK = 256
# Probabilities of exactly 0 and 1 have no finite logarithm of their odds.
_SMALLEST = 1e-12


def unit(vectors: np.ndarray) -> np.ndarray:
    """Returns vectors (count, dim) as float32 of length 1; one of length 0 stays so."""
    vectors = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def knn_predictions(
    queries: np.ndarray,
    collection: np.ndarray,
    labels: np.ndarray,
    neighbors: Sequence[int] = NEIGHBORS,
    sigma: float = SIGMA,
) -> dict[int, np.ndarray]:
    """Returns the classes that the nearest images of a collection vote for.

    Each of the k images with the largest cosine votes for its label with the weight exp(cos / σ).
    Of equal sums the class with the smallest index wins.

    Args:
        queries: embeddings (queries, dim) of any length.
        collection: embeddings (images, dim).
        labels: of the collection, integers (images,), 0 or more.
        neighbors: numbers k of neighbors; at most as many as there are images are used.
        sigma: temperature σ.

    Returns:
        Classes, integers (queries,), by k.
    """
    labels = np.asarray(labels)
    classes, most = int(labels.max()) + 1, min(max(neighbors), len(collection))
    found = {k: [] for k in neighbors}
    for cosines in _cosines(queries, collection):
        nearest = _largest(cosines, most)
        near = np.take_along_axis(cosines, nearest, axis=1)
        # The largest weight is 1, so that no sum is 0 or infinite.
        weights = np.exp((near - near[:, :1]) / sigma)
        for k in neighbors:
            found[k].append(_votes(labels[nearest[:, :k]], weights[:, :k], classes).argmax(axis=1))
    return {k: np.concatenate(parts) for k, parts in found.items()}


def knn_top1(
    queries: np.ndarray,
    query_labels: np.ndarray,
    collection: np.ndarray,
    labels: np.ndarray,
    neighbors: Sequence[int] = NEIGHBORS,
    sigma: float = SIGMA,
) -> dict[int, float]:
    """Returns the share of the queries whose neighbors vote for their label, by k."""
    predicted = knn_predictions(queries, collection, labels, neighbors, sigma)
    return {k: float(np.mean(found == query_labels)) for k, found in predicted.items()}


def coarse_probabilities(
    queries: np.ndarray,
    collection: np.ndarray,
    labels: np.ndarray,
    sigma: float = SIGMA,
) -> np.ndarray:
    """Returns the probability of each coarse class as the neighborhood loss computes it.

    p(y) ∝ Σ exp(cos / σ) over all images of the collection with the label y.

    Args:
        queries, collection, sigma: as for `knn_predictions`.
        labels: coarse labels of the collection, integers (images,).

    Returns:
        float64 (queries, classes), whose rows sum to 1.
    """
    members = np.eye(int(np.max(labels)) + 1)[labels]
    rows = []
    for cosines in _cosines(queries, collection):
        weights = np.exp((cosines - cosines.max(axis=1, keepdims=True)).astype(np.float64) / sigma)
        sums = weights @ members
        rows.append(sums / sums.sum(axis=1, keepdims=True))
    return np.concatenate(rows)


def conditional_bonus(probabilities: np.ndarray) -> np.ndarray:
    """Returns what conditional ranking adds to the cosine with an image of each coarse class.

    ψ(x', x) = cos(x', x) + log(p(x', y) / (1 − p(x', y))), where y is the known coarse label of the
    image x of the collection, and p its probability for the query x' (§3.3).

    Args:
        probabilities: of the coarse classes, (queries, classes). Ones and zeros say that the coarse
            label of the query is known: the oracle, which ranks images with that label first.
    """
    p = np.clip(np.asarray(probabilities, np.float64), _SMALLEST, 1 - _SMALLEST)
    return np.log(p) - np.log1p(-p)


def mean_average_precision(
    queries: np.ndarray,
    query_labels: np.ndarray,
    collection: np.ndarray,
    labels: np.ndarray,
    bonus: np.ndarray | None = None,
    coarse: np.ndarray | None = None,
) -> float:
    """Returns the mean average precision of rankings by similarity.

    The average precision of a query is the mean, over the images of the collection with its label,
    of the precision among the images up to that one. Queries whose label no image has are left out.

    Args:
        queries, collection: embeddings (queries, dim) and (images, dim).
        query_labels, labels: labels that make an image relevant, integers.
        bonus: added to the cosine, by coarse class of the image: (queries, classes); see
            `conditional_bonus`. None for the cosine alone.
        coarse: coarse labels of the collection, integers (images,), for `bonus`.
    """
    labels, query_labels = np.asarray(labels), np.asarray(query_labels)
    precisions, start = [], 0
    for scores in _cosines(queries, collection):
        rows = slice(start, start + len(scores))
        if bonus is not None:
            scores = scores + bonus[rows][:, coarse]
        relevant = labels[np.argsort(-scores, axis=1, kind="stable")] == query_labels[rows, None]
        precisions.append(_average_precision(relevant))
        start += len(scores)
    found = np.concatenate(precisions)
    return float(np.nanmean(found)) if np.isfinite(found).any() else 0.0


def _average_precision(relevant: np.ndarray) -> np.ndarray:
    """Returns the average precision of each row (queries, ranks); nan without a relevant image."""
    precision = np.cumsum(relevant, axis=1) / np.arange(1, relevant.shape[1] + 1)
    counts = relevant.sum(axis=1)
    sums = (precision * relevant).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _cosines(queries: np.ndarray, collection: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the cosines of a block of queries with the collection, float32 (block, images)."""
    queries, collection = unit(queries), unit(collection)
    for start in range(0, len(queries), BLOCK):
        yield queries[start : start + BLOCK] @ collection.T


def _largest(scores: np.ndarray, count: int) -> np.ndarray:
    """Returns the places of the largest scores of each row, the largest first."""
    if count < scores.shape[1]:
        # Sorted, so that of equal scores the first place comes first.
        near = np.sort(np.argpartition(-scores, count - 1, axis=1)[:, :count], axis=1)
    else:
        near = np.broadcast_to(np.arange(count), scores.shape)
    order = np.argsort(-np.take_along_axis(scores, near, axis=1), axis=1, kind="stable")
    return np.take_along_axis(near, order, axis=1)


def _votes(labels: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Returns the sum of the weights of each class, (queries, classes)."""
    sums = np.zeros((len(labels), classes))
    np.add.at(sums, (np.arange(len(labels))[:, None], labels), weights)
    return sums
