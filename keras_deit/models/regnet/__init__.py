"""RegNetY, the teacher of DeiT: the model, its configurations and its weight files."""

from keras_deit.models.regnet import configs
from keras_deit.models.regnet.model import RegNet

__all__ = ["RegNet", "configs"]
