"""Evaluating runs, tables of their scores, and attention maps."""

from keras_deit.evaluation.attention import attention_maps, overlay, saliency
from keras_deit.evaluation.evaluate import SPLITS, evaluate_run, final_report, score_table

__all__ = [
    "SPLITS",
    "attention_maps",
    "evaluate_run",
    "final_report",
    "overlay",
    "saliency",
    "score_table",
]
