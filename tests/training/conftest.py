"""A training small enough for a test: a one-block student, a teacher of two layers."""

import dataclasses

import keras
import pytest

from keras_deit.recipes import DIGITS
from keras_deit.teachers import pixel_format, save_teacher_model
from keras_deit.teachers.teacher import TeacherContract
from keras_deit.training import Job


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
    """Makes a job of two epochs of three steps; keyword arguments change the recipe or the job."""

    def make(optimization=None, job=None, **recipe):
        values = {"teacher": str(teacher_file), "validation_epochs": 1, **recipe}
        model_values = {**DIGITS.model_values, "embed_dim": 24, "depth": 1, "drop_path_rate": 0.1}
        return Job(
            "digits",
            dataclasses.replace(
                DIGITS,
                model_values={**model_values, **values.pop("model_values", {})},
                optimization=dataclasses.replace(
                    DIGITS.optimization,
                    **{"epochs": 2, "warmup_epochs": 1, "batch_size": 400, **(optimization or {})},
                ),
                **values,
            ),
            **(job or {}),
        )

    return make
