"""Export of a trained model: a SavedModel for TF Serving, ONNX, LiteRT, OpenVINO.

Importing this module does not need TensorFlow; an export does.
"""

from keras_deit.serving.commands import serving_commands
from keras_deit.serving.export import (
    FORMATS,
    MAX_SERVED_PIXELS,
    SAVED_MODEL,
    export_model,
    export_run,
)
from keras_deit.serving.sources import HEADS

__all__ = [
    "FORMATS",
    "HEADS",
    "MAX_SERVED_PIXELS",
    "SAVED_MODEL",
    "export_model",
    "export_run",
    "serving_commands",
]
