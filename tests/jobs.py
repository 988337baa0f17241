"""Fixtures for a training small enough for a test: a one-block student, a teacher of two layers.

A folder of tests that needs them imports them in its `conftest.py`.
"""

import dataclasses

import keras
import pytest

from keras_deit.recipes import DIGITS
from keras_deit.teachers import TeacherContract, pixel_format, save_teacher_model
from keras_deit.training import Job, Run, make_job, train_job


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory):
    """A convnet with a BatchNormalization for ten classes, in a `.keras` file with its contract."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(8, 3, strides=2),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    path = tmp_path_factory.mktemp("teacher") / "teacher.keras"
    contract = TeacherContract(pixel_format("0-255", 16, 16), "logits", 10)
    save_teacher_model(model, contract, path)
    return path


@pytest.fixture(scope="session")
def tiny_job(teacher_file):
    """Returns a function that makes a job of two epochs of three steps.

    Its arguments change values of the optimization, the job, the objective (or are another
    objective) and the recipe.
    """

    def make(optimization=None, job=None, objective=None, **recipe):
        sizes = {"embed_dim": 24, "depth": 1, "drop_path_rate": 0.1}
        model_values = {**DIGITS.model_values, **sizes, **recipe.pop("model_values", {})}
        training = {"epochs": 2, "warmup_epochs": 1, "batch_size": 400, **(optimization or {})}
        if objective is None or isinstance(objective, dict):
            values = {"teacher": str(teacher_file), **(objective or {})}
            objective = DIGITS.objective.copy(**values)
        values = {
            "model_values": model_values,
            "optimization": dataclasses.replace(DIGITS.optimization, **training),
            "objective": objective,
            "validation_epochs": 1,
            **recipe,
        }
        # The teacher has random weights.
        job = {"accept_teacher": True, **(job or {})}
        return Job("digits", dataclasses.replace(DIGITS, **values), **job)

    return make


@pytest.fixture(scope="module")
def eager():
    """Runs TensorFlow without compiling, which takes most of the time of a small training.

    It is for modules that test what happens around the steps.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def train_without_page(print_fn=print, **options) -> Run:
    """Trains as `keras_deit.train` does, and leaves out the page, which takes some seconds."""
    return train_job(make_job(**options), options.get("run_dir"), print_fn)
