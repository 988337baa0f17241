"""Answers of several models and a teacher become rows of figures."""

import json

import numpy as np

from keras_deit.evaluation.evaluate import evaluation_of
from keras_deit.evaluation.measuring import Answers
from keras_deit.models import DeiT


def test_rows_that_are_not_finite_have_no_figures_and_are_named():
    draws = np.random.default_rng(0)
    labels = draws.integers(0, 3, 20)
    good, bad = draws.normal(size=(2, 20, 3)).astype("float32")
    bad[[2, 5], 1] = np.nan
    rows = {"teacher": good, "class": bad, "fused": good}
    answers = Answers({"scores": rows, "ema_scores": rows}, labels, np.arange(20), 100.0)
    model = DeiT(image_size=16, patch_size=8, embed_dim=8, depth=1, num_heads=2, num_classes=3)
    # A model that has diverged.
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    lines = []
    found = evaluation_of(
        *(answers, answers, ["a", "b", "c"], model, np.zeros((2, 16, 16, 3), "float32")),
        print_fn=lines.append,
    )
    json.dumps(found, allow_nan=False)
    assert list(found["figures"]) == ["teacher", "fused", "fused, EMA"]
    assert [line.split(":")[0] for line in lines] == ["class", "class, EMA"]
    assert all("2 images are not finite" in line for line in lines)
    assert found["scores"]["fused"]["agreement"] == 1
    assert found["figures"]["fused"]["top1"] == np.mean(np.argmax(good, 1) == labels)
    assert found["disagreement"]["names"] == ["ground truth", "teacher", "class"]
    assert "branch_norms" not in found and "attention_distance" not in found
