"""The ViTs and hybrids of AugReg: the model, its published configurations and its weight files."""

from keras_deit.models.vit import configs
from keras_deit.models.vit.model import ViT

__all__ = ["ViT", "configs"]
