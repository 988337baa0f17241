"""Training: jobs, runs and what they report."""

from keras_deit.training.evaluation import SPLITS, evaluate_run
from keras_deit.training.job import (
    REACTIONS,
    Job,
    evaluation_crop_ratio,
    evaluation_interpolation,
    student_format,
)
from keras_deit.training.reading import Reading
from keras_deit.training.report import final_report, score_table
from keras_deit.training.run_directory import RunDirectory
from keras_deit.training.strategies import STRATEGIES, Devices
from keras_deit.training.teacher_training import check_output, fine_tune_teacher
from keras_deit.training.trainer import train

__all__ = [
    "REACTIONS",
    "SPLITS",
    "STRATEGIES",
    "Devices",
    "Job",
    "Reading",
    "RunDirectory",
    "check_output",
    "evaluate_run",
    "evaluation_crop_ratio",
    "evaluation_interpolation",
    "final_report",
    "fine_tune_teacher",
    "score_table",
    "student_format",
    "train",
]
