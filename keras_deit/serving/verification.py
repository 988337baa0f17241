"""Verification of a SavedModel against its Keras model."""

import pathlib

import numpy as np
import tensorflow as tf

from keras_deit.serving.served_classifier import ServedClassifier

_IMAGES = 4
# A GPU can round to ten bits (TF32), and at other operations in a graph than outside of it.
_DEVICE = "CPU:0"


class SavedModel:
    """A SavedModel, loaded from its directory.

    Args:
        path: the path of the directory.
    """

    def __init__(self, path: str | pathlib.Path):
        with tf.device(_DEVICE):
            # The signatures need the loaded object to stay alive.
            self._loaded = tf.saved_model.load(path)
        self.signatures = self._loaded.signatures

    def describe(self) -> list[str]:
        """Returns a line for each signature and for each of its inputs and outputs."""
        lines = []
        for name in ("serving_default", "serve_bytes"):
            signature = self.signatures[name]
            lines.append(f"signature {name}")
            inputs = signature.structured_input_signature[1]
            lines += [f"  takes {_line(key, spec)}" for key, spec in inputs.items()]
            outputs = sorted(signature.structured_outputs.items())
            lines += [f"  returns {_line(key, spec)}" for key, spec in outputs]
        return lines

    def largest_difference(self, served: ServedClassifier) -> float:
        """Returns the largest difference between the logits of both signatures and the Keras model.

        Args:
            served: the classifier that was saved.

        Returns:
            The largest absolute difference for some random images.
        """
        height, width = served.covering_size
        # Of twice the size, at which sums of gray levels are exact. At others two computations may
        # round a level differently, which moves the logits by more than the tolerance.
        shape = (_IMAGES, 2 * height, 4 * width, 3)
        levels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        with tf.device(_DEVICE):
            pixels = tf.constant(levels / np.float32(255))
            files = tf.stack([tf.io.encode_png(image) for image in levels])
            expected = served.model(served.inputs(pixels), training=False)
            answers = (
                self.signatures["serving_default"](image=pixels),
                self.signatures["serve_bytes"](image_bytes=files),
            )
            return max(float(np.abs(answer["logits"] - expected).max()) for answer in answers)


def _line(name: str, spec: tf.TensorSpec) -> str:
    shape = ", ".join("any" if side is None else str(side) for side in spec.shape)
    return f"{name}: {spec.dtype.name} ({shape})"
