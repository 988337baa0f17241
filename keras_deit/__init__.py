"""Data-efficient image transformers in Keras 3: train, distil, load, inspect, serve."""

from keras_deit import layers, models
from keras_deit.errors import InputError
from keras_deit.models import create_model, list_models
from keras_deit.version import __version__

__all__ = ["InputError", "__version__", "create_model", "layers", "list_models", "models"]
