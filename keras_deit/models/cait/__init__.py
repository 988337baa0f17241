"""CaiT: the model, its published configurations and its weight files."""

from keras_deit.models.cait import configs
from keras_deit.models.cait.model import CaiT

__all__ = ["CaiT", "configs"]
