"""The whole training on whatever backend runs the tests."""

import keras

from keras_deit.evaluation import evaluate_run
from keras_deit.training import train


def test_a_run_trains_and_evaluates_on_this_backend(tiny_job, tmp_path):
    lines = []
    job = tiny_job({"batch_size": 100, "epochs": 3, "optimizer": "lamb", "ema_decay": 0.9})
    summary, where = train(job, str(tmp_path), lines.append)
    assert any(keras.backend.backend() in line for line in lines)
    assert summary["steps"] == 36
    found = evaluate_run(where)
    assert found["scores"] == summary["test"]
    assert found["ema_scores"] == summary["test_ema"]
