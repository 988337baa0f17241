"""PatchConvNet: the model, its published configurations and its weight files."""

from keras_deit.models.patchconvnet import configs
from keras_deit.models.patchconvnet.model import PatchConvNet

__all__ = ["PatchConvNet", "configs"]
