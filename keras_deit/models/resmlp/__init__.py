"""ResMLP: the model, its published configurations and its weight files."""

from keras_deit.models.resmlp import configs
from keras_deit.models.resmlp.model import ResMLP

__all__ = ["ResMLP", "configs"]
