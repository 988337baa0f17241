"""The architectures and their published configurations."""

from keras_deit.models.classifier import Classifier
from keras_deit.models.deit import DeiT
from keras_deit.models.image_format import ImageFormat
from keras_deit.models.model_spec import ModelSpec
from keras_deit.models.registry import create_model, get_spec, list_models, model_values

__all__ = [
    "Classifier",
    "DeiT",
    "ImageFormat",
    "ModelSpec",
    "create_model",
    "get_spec",
    "list_models",
    "model_values",
]
