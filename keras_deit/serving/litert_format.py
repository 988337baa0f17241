"""LiteRT files, as TensorFlow Lite is called now, made by TensorFlow's converter."""

import pathlib
import tempfile

import numpy as np

from keras_deit.serving.pixel_classifier import Answers, PixelClassifier

SUFFIX = ".tflite"


def convert(classifier: PixelClassifier, path: pathlib.Path) -> None:
    """Writes a LiteRT file with the signature `serving_default`."""
    _write(classifier, path)


def quantize(classifier: PixelClassifier, images: np.ndarray, path: pathlib.Path) -> None:
    """Writes a LiteRT file that computes with 8-bit integers, calibrated on images.

    Input and output stay float32, and so does what has no integer operation.

    Args:
        images: RGB pixels in [0, 1], float32 (count, height, width, 3).
    """
    _write(classifier, path, images)


def _write(classifier: PixelClassifier, path: pathlib.Path, images=None) -> None:
    import tensorflow as tf

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        # Only a SavedModel gives the file names of inputs and outputs.
        classifier.save(folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if images is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ({"image": image[None]} for image in images)
        path.write_bytes(converter.convert())


def load(path: pathlib.Path) -> Answers:
    """Returns what a file computes, in LiteRT's interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    runner = interpreter.get_signature_runner("serving_default")

    def answers(images: np.ndarray) -> dict[str, np.ndarray]:
        assert interpreter is not None  # The runner does not keep it alive.
        return runner(image=images)

    return answers
