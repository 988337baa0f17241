"""The model families, their published configurations, and models by name."""

from keras_deit.models.binary_vit import BinaryViT
from keras_deit.models.cait import CaiT
from keras_deit.models.classifier import Classifier
from keras_deit.models.cvit import CViT
from keras_deit.models.deit import DeiT
from keras_deit.models.deit3 import DeiT3
from keras_deit.models.folding import fold_layer_scale, folds_layer_scale
from keras_deit.models.macs import count_macs, count_operations
from keras_deit.models.patchconvnet import PatchConvNet
from keras_deit.models.registry import (
    FAMILIES,
    SPECS,
    abstract_model,
    build_model,
    get_spec,
    list_models,
    model_table,
    model_values,
    register_family,
    register_model,
    registered_families,
)
from keras_deit.models.regnet import RegNet
from keras_deit.models.residual_nets import ResNetClassifier
from keras_deit.models.resmlp import ResMLP
from keras_deit.models.small_data import (
    SmallDataCaiT,
    SmallDataPiT,
    SmallDataSwin,
    SmallDataT2T,
    SmallDataViT,
)
from keras_deit.models.spec import ModelSpec, Result
from keras_deit.models.vit import ViT

FAMILIES.protect()
SPECS.protect()

__all__ = [
    "BinaryViT",
    "CViT",
    "CaiT",
    "Classifier",
    "DeiT",
    "DeiT3",
    "ModelSpec",
    "PatchConvNet",
    "RegNet",
    "ResMLP",
    "ResNetClassifier",
    "Result",
    "SmallDataCaiT",
    "SmallDataPiT",
    "SmallDataSwin",
    "SmallDataT2T",
    "SmallDataViT",
    "ViT",
    "abstract_model",
    "build_model",
    "count_macs",
    "count_operations",
    "fold_layer_scale",
    "folds_layer_scale",
    "get_spec",
    "list_models",
    "model_table",
    "model_values",
    "register_family",
    "register_model",
    "registered_families",
]
