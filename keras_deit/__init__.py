"""Data-efficient image transformers in Keras 3: train, distil, load, inspect, serve."""

from keras_deit.version import __version__

__all__ = ["__version__"]
