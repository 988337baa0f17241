"""Weight files of binary models with the binary weights as bits."""

import pathlib

import keras
import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.layers.introspection import binary_weights
from keras_deit.models import Classifier
from keras_deit.pretrained import load_pretrained, save_safetensors
from keras_deit.pretrained.safetensors_file import SafetensorsFile

BITS = "bits"
FILE = "model.safetensors"
# Largest difference between the logits of the model with the weights of the file and of the model.
TOLERANCE = 1e-5
_IMAGES = 2


def check_binary(model: Classifier) -> None:
    """Checks that a model has binary weights.

    Raises:
        InputError: it has none.
    """
    if not binary_weights(model):
        raise InputError(f"{model.name} has no binary weights, which the format {BITS} is for.")


def write_bits(model: Classifier, folder: pathlib.Path) -> tuple[list[str], dict[str, float]]:
    """Writes the weights of a binary model, loads them into a new one and compares the logits.

    Args:
        model: with binary weights.
        folder: where `model.safetensors` is written.

    Returns:
        Lines that say what was measured, and the same figures by what they are.

    Raises:
        RuntimeError: the logits differ.
    """
    path = folder / FILE
    save_safetensors(model, path, binary=True)
    file = SafetensorsFile(path, FILE)
    counts = [int(np.prod(file.shapes[name])) for name in file.binary_names]
    held = sum(file.packed_bytes(name) for name in file.binary_names)
    difference = _difference(model, path)
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"With the weights of the file the logits differ by {difference:.2e}, which is more "
            f"than {TOLERANCE:.0e}; it is not exported."
        )
    what = "largest difference from the logits of the Keras model"
    share = f", 1/{4 * sum(counts) / held:.1f} of floats" if held else ""
    lines = [
        f"{FILE}, {path.stat().st_size / 1e6:.1f} MB, {what}: {difference:.1e}",
        f"{sum(counts):,} binary weights in {held / 1e6:.2f} MB{share}",
    ]
    floats = len(binary_weights(model)) - len(counts)
    if floats:
        lines.append(
            f"{floats} binary tensors stay floats: they have weights whose sign is 0, or LoRA."
        )
    return lines, {what: difference, "binary weights, bytes": held, "binary weights": sum(counts)}


def describe(model: Classifier) -> list[str]:
    """Returns lines that say what the file is for."""
    return [f"  weights of {model.name} for keras_deit, which unpacks them when it loads them"]


def _difference(model: Classifier, path: pathlib.Path) -> float:
    loaded = type(model).from_config(model.get_config())
    load_pretrained(loaded, path)
    shape = (_IMAGES, *model.input_shape[1:])
    images = np.random.default_rng(0).normal(size=shape).astype("float32")
    logits = [keras.ops.convert_to_numpy(x(images, training=False)) for x in (model, loaded)]
    return float(np.abs(logits[0] - logits[1]).max())
