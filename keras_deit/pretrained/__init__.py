"""Models with weights: this package's files and the published ones."""

from keras_deit.pretrained.creation import create_model
from keras_deit.pretrained.loading import load_pretrained
from keras_deit.pretrained.model_tensors import save_safetensors

__all__ = ["create_model", "load_pretrained", "save_safetensors"]
