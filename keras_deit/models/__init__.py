"""The architectures and their published configurations."""

from keras_deit.models.cait import CaiT
from keras_deit.models.classifier import Classifier
from keras_deit.models.deit import DeiT
from keras_deit.models.deit3 import DeiT3
from keras_deit.models.image_format import ImageFormat
from keras_deit.models.macs import count_macs
from keras_deit.models.model_spec import ModelSpec, Result
from keras_deit.models.outline import outlined
from keras_deit.models.patchconvnet import PatchConvNet
from keras_deit.models.registry import (
    build_model,
    get_spec,
    list_models,
    model_table,
    model_values,
    outline_model,
)
from keras_deit.models.resmlp import ResMLP

__all__ = [
    "CaiT",
    "Classifier",
    "DeiT",
    "DeiT3",
    "ImageFormat",
    "ModelSpec",
    "PatchConvNet",
    "ResMLP",
    "Result",
    "build_model",
    "count_macs",
    "get_spec",
    "list_models",
    "model_table",
    "model_values",
    "outline_model",
    "outlined",
]
