"""Finished runs of a tiny model."""

import pathlib

import keras
import pytest

from keras_deit import create_model
from keras_deit.training import Run

# The tests import TensorFlow.
if keras.backend.backend() != "tensorflow":
    collect_ignore_glob = ["test_*.py"]

CLASS_NAMES = ("ant", "bée", "cat")


@pytest.fixture(scope="session")
def make_run():
    """Returns a function that writes a finished run of a tiny model into a directory."""

    def make(path: pathlib.Path, distilled=True, crop_ratio=1.0, interpolation="bilinear") -> Run:
        kind = "distilled_" if distilled else ""
        values = {
            "name": f"deit_tiny_{kind}patch16_224",
            "image_size": 16,
            "patch_size": 8,
            "embed_dim": 24,
            "depth": 2,
            "num_classes": len(CLASS_NAMES),
            # An export computes in float32 all the same.
            "dtype": "mixed_bfloat16",
        }
        keras.utils.set_random_seed(7)
        model = create_model(**values)
        for variable in model.trainable_variables:
            # Logits then are as large as those of a trained model, and depend on all weights.
            variable.assign_add(keras.random.normal(variable.shape, stddev=0.3))
        run = Run(path)
        run.start(
            {
                "model": values,
                "run": {"dataset": "digits"},
                "data_dir": None,
                "teacher": None,
                "teacher_contract": None,
                "class_names": CLASS_NAMES,
                "crop_ratio": crop_ratio,
                "interpolation": interpolation,
            }
        )
        run.save_weights(model, run.final_weights)
        return run

    return make
