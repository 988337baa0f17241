"""Models with weights: this package's files and the published ones."""

from keras_deit.pretrained.creation import create_model

__all__ = ["create_model"]
