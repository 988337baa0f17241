"""Data-efficient image transformers in Keras 3.

What needs only Keras and NumPy is imported here: models, layers, pretrained weights, teachers,
objectives. What also needs the packages for data is imported when it is first used.
"""

import importlib

from keras_deit.core.startup import import_keras

import_keras()

# ruff: noqa: E402
from keras_deit import layers, losses, models, objectives, optimizers, pretrained, teachers
from keras_deit.core.errors import InputError
from keras_deit.models import (
    Classifier,
    count_macs,
    list_models,
    register_family,
    register_model,
)
from keras_deit.objectives import (
    Distillation,
    Distiller,
    Objective,
    Supervised,
    register_objective,
)
from keras_deit.pretrained import create_model, load_pretrained
from keras_deit.teachers import Teacher
from keras_deit.version import __version__

# By name, the module that has it; None for a module of that name.
_LAZY = {
    "benchmarking": None,
    "data": None,
    "distributed": None,
    "evaluation": None,
    "planning": None,
    "recipes": None,
    "sequence": None,
    "serving": None,
    "studies": None,
    "training": None,
    "Predictor": "evaluation",
    "attention_maps": "evaluation",
    "compare_studies": "evaluation",
    "evaluate_run": "evaluation",
    "evaluate_weights": "evaluation",
    "label_views": "training",
    "list_recipes": "recipes",
    "load_run": "training",
    "plan_training": "planning",
    "prune": "evaluation",
    "register_recipe": "recipes",
    "train": "evaluation",
    "train_seeds": "evaluation",
    "train_teacher": "training",
    "write_report": "evaluation",
}

__all__ = [
    *_LAZY,
    "Classifier",
    "Distillation",
    "Distiller",
    "InputError",
    "Objective",
    "Supervised",
    "Teacher",
    "__version__",
    "count_macs",
    "create_model",
    "layers",
    "list_models",
    "load_pretrained",
    "losses",
    "models",
    "objectives",
    "optimizers",
    "pretrained",
    "register_family",
    "register_model",
    "register_objective",
    "teachers",
]


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_LAZY[name] or name}")
    return getattr(module, name) if _LAZY[name] else module


def __dir__() -> list[str]:
    return sorted(__all__)
