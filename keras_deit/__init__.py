"""Data-efficient image transformers in Keras 3: train, distil, load, inspect, serve."""

from keras_deit import distillation, layers, models, pretrained
from keras_deit.distillation import Distiller, Teacher
from keras_deit.errors import InputError
from keras_deit.models import count_macs, list_models
from keras_deit.pretrained import create_model, load_pretrained
from keras_deit.version import __version__

__all__ = [
    "Distiller",
    "InputError",
    "Teacher",
    "__version__",
    "count_macs",
    "create_model",
    "distillation",
    "layers",
    "list_models",
    "load_pretrained",
    "models",
    "pretrained",
]
