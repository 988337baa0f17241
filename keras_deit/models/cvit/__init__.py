"""CViT, a convolutional vision transformer: the model, its configurations and its weight files."""

from keras_deit.models.cvit import configs
from keras_deit.models.cvit.model import CViT

__all__ = ["CViT", "configs"]
