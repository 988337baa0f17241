"""Votes of neighbors and rankings are those of their definitions, computed one by one."""

import numpy as np
import pytest

from keras_deit.objectives import retrieval


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    collection, queries = rng.normal(size=(40, 5)), rng.normal(size=(9, 5))
    fine, query_fine = rng.integers(0, 6, 40), rng.integers(0, 6, 9)
    return collection, fine, fine // 2, queries, query_fine, query_fine // 2


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def average_precision(scores, relevant):
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    hits, sum_ = 0, 0.0
    for rank, place in enumerate(order, 1):
        if relevant[place]:
            hits += 1
            sum_ += hits / rank
    return sum_ / hits if hits else None


def test_neighbors_vote_with_the_exponential_of_their_cosine(data, monkeypatch):
    monkeypatch.setattr(retrieval, "BLOCK", 4)
    collection, fine, _, queries, query_fine, _ = data
    found = retrieval.knn_predictions(queries, collection, fine, (3, 7, 100), sigma=0.5)
    hits = dict.fromkeys(found, 0)
    for k, predicted in found.items():
        for query, label, wanted in zip(queries, predicted, query_fine, strict=True):
            cosines = [cosine(query, image) for image in collection]
            sums = dict.fromkeys(range(6), 0.0)
            for place in sorted(range(40), key=lambda i: -cosines[i])[:k]:
                sums[fine[place]] += np.exp(cosines[place] / 0.5)
            assert label == max(sums, key=sums.get)
            hits[k] += label == wanted
    assert 0 < hits[7] < 9
    top1 = retrieval.knn_top1(queries, query_fine, collection, fine, (3, 7, 100), 0.5)
    assert top1 == pytest.approx({k: count / 9 for k, count in hits.items()})


def test_average_precision_is_that_of_every_ranking(data, monkeypatch):
    monkeypatch.setattr(retrieval, "BLOCK", 4)
    collection, fine, coarse, queries, query_fine, query_coarse = data
    probabilities = retrieval.coarse_probabilities(queries, collection, coarse, sigma=0.3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    oracle = np.eye(3)[query_coarse]
    for known in (None, probabilities, oracle):
        expected = []
        for i, query in enumerate(queries):
            scores = [cosine(query, image) for image in collection]
            weights = np.exp(np.array(scores) / 0.3)
            for j, y in enumerate(coarse):
                if known is probabilities:
                    p = weights[coarse == y].sum() / weights.sum()
                    scores[j] += np.log(p / (1 - p))
                elif known is oracle:
                    scores[j] += 1e6 * (y == query_coarse[i])
            expected.append(average_precision(scores, fine == query_fine[i]))
        bonus = None if known is None else retrieval.conditional_bonus(known)
        found = retrieval.mean_average_precision(
            queries, query_fine, collection, fine, bonus, coarse
        )
        assert found == pytest.approx(np.mean([x for x in expected if x is not None]), abs=1e-6)


def test_a_condition_keeps_the_order_inside_of_a_coarse_class(data):
    collection, fine, _, queries, query_fine, _ = data
    one = np.zeros(40, int)
    bonus = np.random.default_rng(1).normal(size=(9, 1))
    plain = retrieval.mean_average_precision(queries, query_fine, collection, fine)
    shifted = retrieval.mean_average_precision(queries, query_fine, collection, fine, bonus, one)
    assert shifted == plain


def test_a_label_that_no_image_has_is_left_out():
    images = np.eye(3)
    found = retrieval.mean_average_precision(images, np.array([0, 1, 9]), images, np.arange(3))
    assert found == 1.0
    assert retrieval.mean_average_precision(images, [7, 8, 9], images, np.arange(3)) == 0.0
