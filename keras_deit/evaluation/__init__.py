"""Evaluating runs, tables of their scores, predictions, and attention maps."""

from keras_deit.evaluation.attention import (
    KINDS,
    attention_maps,
    attention_picture,
    overlay,
    saliency,
    write_picture,
)
from keras_deit.evaluation.diagnostics import (
    attention_distance,
    branch_norms,
    diagnostics,
    token_cosine,
)
from keras_deit.evaluation.disagreement import disagreement
from keras_deit.evaluation.evaluate import SPLITS, evaluate_run, final_report, score_table
from keras_deit.evaluation.predictions import Prediction, Predictor, imagenet_class_names

__all__ = [
    "KINDS",
    "SPLITS",
    "Prediction",
    "Predictor",
    "attention_distance",
    "attention_maps",
    "attention_picture",
    "branch_norms",
    "diagnostics",
    "disagreement",
    "evaluate_run",
    "final_report",
    "imagenet_class_names",
    "overlay",
    "saliency",
    "score_table",
    "token_cosine",
    "write_picture",
]
