"""DeiT III and the parallel ViT: the model, its published configurations and its weight files."""

from keras_deit.models.deit3 import configs
from keras_deit.models.deit3.model import DeiT3

__all__ = ["DeiT3", "configs"]
