"""Training: jobs, the training loop, checkpoints, and runs."""

from keras_deit.training.changes import data_summary
from keras_deit.training.datasets import evaluation_dataset, train_dataset
from keras_deit.training.identity import objective_from, run_identity
from keras_deit.training.input_pipeline import InputPipeline
from keras_deit.training.interruption import Interruption, Stopped
from keras_deit.training.job import Job, OnProblem
from keras_deit.training.labeling import label_views, labeling_options
from keras_deit.training.options import (
    DEFAULT_DATASET,
    make_job,
    teacher_training_options,
    train_teacher,
    training_options,
)
from keras_deit.training.preparation import check_recipe, dataset_of
from keras_deit.training.pruning import make_pruning, pruning_options
from keras_deit.training.run import Run, different_values, load_run
from keras_deit.training.teacher_training import check_output, fine_tune_teacher
from keras_deit.training.teachers import request_of_run, resolve_teacher, teacher_of_run
from keras_deit.training.trainer import default_run_dir, train_job
from keras_deit.training.translation import train_translation
from keras_deit.training.translation_job import TranslationJob
from keras_deit.training.validation import score_split

__all__ = [
    "DEFAULT_DATASET",
    "InputPipeline",
    "Interruption",
    "Job",
    "OnProblem",
    "Run",
    "Stopped",
    "TranslationJob",
    "check_output",
    "check_recipe",
    "data_summary",
    "dataset_of",
    "default_run_dir",
    "different_values",
    "evaluation_dataset",
    "fine_tune_teacher",
    "label_views",
    "labeling_options",
    "load_run",
    "make_job",
    "make_pruning",
    "objective_from",
    "pruning_options",
    "request_of_run",
    "resolve_teacher",
    "run_identity",
    "score_split",
    "teacher_of_run",
    "teacher_training_options",
    "train_dataset",
    "train_job",
    "train_teacher",
    "train_translation",
    "training_options",
]
