"""Writes weights of any source as a file of another format.

    python scripts/convert.py --model deit_tiny_patch16_224 \\
        --weights deit_tiny_patch16_224-a1311bcf.pth --output deit_tiny.safetensors
    python scripts/convert.py --weights runs/NAME --output student.keras

For another --image_size the positions are resized.
"""

import pathlib

import command  # isort: skip  (loads Keras without the noise)
import model_flags
from absl import flags

from keras_deit.errors import InputError
from keras_deit.models import Classifier
from keras_deit.pretrained.conversion import OUTPUTS, changed, model_from, save_model
from keras_deit.training.run_directory import RunDirectory, check_writable

_MODEL = flags.DEFINE_string(
    "model", None, "Its name in list_models(); a .keras file or a run directory says it itself."
)
_WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "A file (.safetensors, .pth, .weights.h5, .keras), hf://OWNER/NAME, or a run directory, whose "
    "student is taken.",
    required=True,
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    f"The file to write: {', '.join(OUTPUTS)} (timm's layout).",
    required=True,
)
_NUM_CLASSES = flags.DEFINE_integer("num_classes", None, "Of each head; by default the file's.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Whether to replace the output.")
model_flags.define("Value of the model in place of the published one.")
flags.adopt_module_key_flags(model_flags)


def main() -> None:
    output = pathlib.Path(_OUTPUT.value)
    _check_output(output)
    model = _model()
    if _MODEL.value not in (None, model.name):
        raise InputError(f"{_WEIGHTS.value} holds a {model.name}, not a {_MODEL.value}.")
    save_model(model, output)
    height, width = model.image_format.height, model.image_format.width
    print(
        f"{model.name} for images of {height}×{width}, {model.num_classes} classes: "
        f"{len(model.weights)} weights, {model.count_params():,} parameters.\n"
        f"{output}, {output.stat().st_size / 1e6:.1f} MB."
    )


def _check_output(output: pathlib.Path) -> None:
    """Before anything is downloaded or read."""
    if not output.name.endswith(OUTPUTS):
        raise InputError(f"--output should end in {', '.join(OUTPUTS)}, not be {str(output)!r}.")
    if output.exists() and not _OVERWRITE.value:
        raise InputError(f"{output} is there already; give another --output, or --overwrite.")
    if not output.parent.is_dir():
        raise InputError(f"{output} cannot be written: there is no folder {output.parent}.")
    check_writable(output)


def _model() -> Classifier:
    weights = _WEIGHTS.value
    if pathlib.Path(weights).is_dir():
        student = RunDirectory(weights).load_student()
        return changed(student, num_classes=_NUM_CLASSES.value, **model_flags.given())
    return model_from(weights, _MODEL.value, _NUM_CLASSES.value, **model_flags.given())


if __name__ == "__main__":
    command.run(main)
