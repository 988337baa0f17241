"""Writes the student of a finished run as a SavedModel that TF Serving takes.

    python scripts/export.py --run_dir runs/NAME                -> savedmodels/NAME/1, 2, ...

The run may have been trained on any backend.
"""

import os

# A SavedModel holds TensorFlow's operations; the weights are every backend's.
os.environ["KERAS_BACKEND"] = "tensorflow"

import command  # isort: skip  (loads Keras without the noise)
from absl import flags

from keras_deit.serving import export_run, serving_commands

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Of a finished run.", required=True)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "savedmodels", "Where served models lie.")
_NAME = flags.DEFINE_string("name", None, "Of the served model; by default the run directory's.")
_TOP_K = flags.DEFINE_integer("top_k", 5, "How many labels to name.")


def main() -> None:
    version = export_run(_RUN_DIR.value, _OUTPUT_DIR.value, _NAME.value, _TOP_K.value)
    serve, ask = serving_commands(version)
    print(f"\nserve it:\n  {serve}\nask it:\n  {ask}")


if __name__ == "__main__":
    command.run(main)
