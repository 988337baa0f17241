"""ResNet-50, the trunk of Grafit, and its deeper relatives."""

from keras_deit.models.residual_nets import configs
from keras_deit.models.residual_nets.model import ResNetClassifier

__all__ = ["ResNetClassifier", "configs"]
