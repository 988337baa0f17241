"""Evaluating runs, and tables of their scores."""

from keras_deit.evaluation.evaluate import SPLITS, evaluate_run, final_report, score_table

__all__ = ["SPLITS", "evaluate_run", "final_report", "score_table"]
