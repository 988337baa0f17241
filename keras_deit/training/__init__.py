"""Training: jobs, the training loop, checkpoints, and runs."""

from keras_deit.training.changes import data_summary
from keras_deit.training.datasets import evaluation_dataset, train_dataset
from keras_deit.training.identity import objective_from
from keras_deit.training.input_pipeline import InputPipeline
from keras_deit.training.interruption import Stopped
from keras_deit.training.job import Job, OnProblem
from keras_deit.training.options import (
    DEFAULT_DATASET,
    make_job,
    teacher_training_options,
    train_teacher,
    training_options,
)
from keras_deit.training.pruning import make_pruning, pruning_options
from keras_deit.training.run import Run, load_run
from keras_deit.training.teacher_training import check_output, fine_tune_teacher
from keras_deit.training.teachers import resolve_teacher, teacher_of_run
from keras_deit.training.trainer import train_job
from keras_deit.training.validation import score_split

__all__ = [
    "DEFAULT_DATASET",
    "InputPipeline",
    "Job",
    "OnProblem",
    "Run",
    "Stopped",
    "check_output",
    "data_summary",
    "evaluation_dataset",
    "fine_tune_teacher",
    "load_run",
    "make_job",
    "make_pruning",
    "objective_from",
    "pruning_options",
    "resolve_teacher",
    "score_split",
    "teacher_of_run",
    "teacher_training_options",
    "train_dataset",
    "train_job",
    "train_teacher",
    "training_options",
]
