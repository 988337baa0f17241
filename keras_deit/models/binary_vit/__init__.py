"""BinaryViT: the model, its published configurations and its weight files."""

from keras_deit.models.binary_vit import configs
from keras_deit.models.binary_vit.model import BinaryViT

__all__ = ["BinaryViT", "configs"]
