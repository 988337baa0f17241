"""The computation of the formats that are run without TensorFlow."""

import functools
import pathlib
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_deit.models import Classifier

# What a loaded file computes: pixels (B, height, width, 3) to the answers by name.
Answers = Callable[[np.ndarray], dict[str, np.ndarray]]

OUTPUTS = ("logits", "probabilities")
# The converters specialize for a batch of one where they can.
_BATCHES = (1, 3)
# A GPU can round to ten bits (TF32).
_DEVICE = "CPU:0"


class PixelClassifier:
    """A classifier of images of the model's size, with the normalization inside.

    Args:
        model: a model of this package, on the TensorFlow backend.
    """

    def __init__(self, model: Classifier):
        self.model = model
        image_format = model.image_format
        self._mean, self._std = np.float32(image_format.mean), np.float32(image_format.std)
        self.size = (image_format.height, image_format.width)
        self.signature = [tf.TensorSpec([None, *self.size, 3], tf.float32, "image")]
        self.function = tf.function(self._classify, self.signature)

    def _classify(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = self.model(image * (1 / self._std) - self._mean / self._std, training=False)
        return dict(zip(OUTPUTS, (logits, tf.nn.softmax(logits)), strict=True))

    def answers(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the answers of the Keras model.

        Args:
            images: RGB pixels in [0, 1], float32 (B, height, width, 3).

        Returns:
            "logits" and "probabilities", float32 (B, K).
        """
        with tf.device(_DEVICE):
            return {name: value.numpy() for name, value in self._classify(images).items()}

    def save(self, path: pathlib.Path) -> None:
        """Writes a SavedModel with one signature, for a converter that takes that."""
        archive = keras.export.ExportArchive()
        archive.add_endpoint("serving_default", self._classify, self.signature)
        archive.write_out(path, verbose=False)

    @functools.cached_property
    def _expected(self) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
        images = np.random.default_rng(0).random((max(_BATCHES), *self.size, 3), np.float32)
        return [(images[:count], self.answers(images[:count])) for count in _BATCHES]

    def largest_difference(self, answers: Answers) -> float:
        """Returns the largest difference of answers from those of the Keras model.

        It is measured on random images, one and several at a time: that of probabilities, and that
        of logits as a part of the largest logit if it is above 1.
        """
        return max(
            float(np.abs(found[name] - values).max() / max(1, np.abs(values).max()))
            for images, expected in self._expected
            for found in [answers(images)]
            for name, values in expected.items()
        )

    def describe(self) -> list[str]:
        """Returns a line for the input and one for each output."""
        height, width = self.size
        classes = self.model.num_classes
        return [
            f"  takes image: float32 (any, {height}, {width}, 3), RGB in [0, 1]",
            *(f"  returns {name}: float32 (any, {classes})" for name in OUTPUTS),
        ]
