"""Export of a finished run as a SavedModel for TF Serving.

Importing this module does not need TensorFlow; `export_run` does.
"""

from keras_deit.serving.commands import serving_commands
from keras_deit.serving.export import MAX_SERVED_PIXELS, export_run

__all__ = ["MAX_SERVED_PIXELS", "export_run", "serving_commands"]
