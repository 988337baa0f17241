"""CViT, a convolutional vision transformer that tells forged faces: model, configurations, files."""

from keras_deit.models.cvit import configs
from keras_deit.models.cvit.model import CViT

__all__ = ["CViT", "configs"]
