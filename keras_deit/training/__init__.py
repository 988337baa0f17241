"""Training: jobs, runs and what they report."""

from keras_deit.training.job import Job
from keras_deit.training.report import final_report, score_table
from keras_deit.training.run_directory import RunDirectory
from keras_deit.training.strategies import STRATEGIES
from keras_deit.training.trainer import train

__all__ = ["STRATEGIES", "Job", "RunDirectory", "final_report", "score_table", "train"]
