"""A run of AugReg's recipe, on the digits."""

import csv
import dataclasses
import json
import math

import numpy as np
import pytest

from keras_deit import InputError
from keras_deit.recipes import get_recipe
from keras_deit.training import Job, train


def job(weights=None, **optimization):
    recipe = get_recipe("augreg_regularized")
    small = {"image_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 1, "num_heads": 3}
    recipe = dataclasses.replace(
        recipe,
        weights=weights,
        model_values={**recipe.model_values, **small},
        optimization=dataclasses.replace(
            recipe.optimization,
            **{"epochs": 2, "batch_size": 400, "warmup_steps": 4, **optimization},
        ),
    )
    return Job("digits", recipe)


def test_a_run_of_the_recipe(tmp_path):
    lines = []
    _, where = train(job(), str(tmp_path / "run"), lines.append)
    shown = dict(line.split("  ", 1) for line in lines)
    shown = {name: value.strip() for name, value in shown.items()}
    assert shown["schedule"] == "cosine, from 0 over 4 steps of warm-up to 0"
    assert shown["label loss"] == "sigmoid cross entropy"
    assert shown["optimizer"] == "adamw, weight decay 0.1, gradients clipped to 1"
    config = json.loads((where / "config.json").read_text())
    # Trained with bilinear resizing, evaluated as is published of the model.
    assert (config["crop_ratio"], config["interpolation"]) == (0.875, "bicubic")
    assert config["effective"] == shown
    rows = list(csv.DictReader((where / "metrics.csv").open()))
    start = 10 * math.log(1 + math.exp(-6.9)) + 6.9
    first, second = (float(row["class_loss"]) for row in rows)
    assert 0.95 * start < first < start and second < first


def test_trained_heads_are_left_as_they_are(tmp_path):
    _, first = train(job(), str(tmp_path / "first"), lambda line: None)
    weights = str(first / "final.weights.h5")
    # At no learning rate at all, what comes out is what went in.
    still = {"learning_rate": 1e-30, "weight_decay": 0.0, "epochs": 1, "warmup_steps": 1}
    _, second = train(job(weights, **still), str(tmp_path / "second"), lambda line: None)
    scores = [json.loads((run / "summary.json").read_text())["test"] for run in (first, second)]
    assert scores[0] == scores[1]
    assert np.isfinite(scores[0]["fused"]["top1"])


def test_a_warm_up_longer_than_the_training_is_refused_before_it_starts(tmp_path):
    with pytest.raises(InputError, match="warmup_steps should be at most 6"):
        train(job(warmup_steps=7), str(tmp_path / "run"), lambda line: None)
    assert not (tmp_path / "run").exists()
