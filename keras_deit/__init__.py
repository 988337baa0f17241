"""Data-efficient image transformers in Keras 3: train, distil, load, inspect, serve."""

from keras_deit import distillation, layers, models
from keras_deit.distillation import Distiller, Teacher
from keras_deit.errors import InputError
from keras_deit.models import create_model, list_models
from keras_deit.version import __version__

__all__ = [
    "Distiller",
    "InputError",
    "Teacher",
    "__version__",
    "create_model",
    "distillation",
    "layers",
    "list_models",
    "models",
]
