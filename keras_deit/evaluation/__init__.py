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
from keras_deit.evaluation.evaluate import SPLITS, evaluate_run, evaluate_weights
from keras_deit.evaluation.imagenet import evaluate_imagenet
from keras_deit.evaluation.predictions import Prediction, Predictor
from keras_deit.evaluation.pruning import prune
from keras_deit.evaluation.report import train, train_with_report, write_report
from keras_deit.evaluation.seed_study import Study, load_study, study_table
from keras_deit.evaluation.seed_training import train_seeds
from keras_deit.evaluation.study_comparison import compare_studies, comparison_table
from keras_deit.evaluation.tables import disagreement_table, final_report, result_table, score_table
from keras_deit.models.imagenet import imagenet_class_names

__all__ = [
    "KINDS",
    "SPLITS",
    "Prediction",
    "Predictor",
    "Study",
    "attention_distance",
    "attention_maps",
    "attention_picture",
    "branch_norms",
    "compare_studies",
    "comparison_table",
    "diagnostics",
    "disagreement",
    "disagreement_table",
    "evaluate_imagenet",
    "evaluate_run",
    "evaluate_weights",
    "final_report",
    "imagenet_class_names",
    "load_study",
    "overlay",
    "prune",
    "result_table",
    "saliency",
    "score_table",
    "study_table",
    "token_cosine",
    "train",
    "train_seeds",
    "train_with_report",
    "write_picture",
    "write_report",
]
