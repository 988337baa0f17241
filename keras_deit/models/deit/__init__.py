"""DeiT and distilled DeiT: the model, its published configurations and its weight files."""

from keras_deit.models.deit import configs
from keras_deit.models.deit.model import DeiT

__all__ = ["DeiT", "configs"]
