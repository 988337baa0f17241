"""LiteRT files, as TensorFlow Lite is called now, made by TensorFlow's converter."""

import pathlib
import tempfile

import numpy as np

from keras_deit.serving.pixel_classifier import Answers, PixelClassifier

SUFFIX = ".tflite"
# Norms, softmax and sums of branches: in 8 bits they cost most of the accuracy and save no weights.
_IN_FLOAT = (
    *("ADD", "SUB", "MUL", "SUM", "MEAN", "SQUARED_DIFFERENCE", "RSQRT", "SOFTMAX"),
    *("GELU", "CONCATENATION"),
)


def convert(classifier: PixelClassifier, path: pathlib.Path) -> None:
    """Writes a LiteRT file with the signature `serving_default`."""
    _write(classifier, path, lambda converter: converter.convert())


def quantize(classifier: PixelClassifier, images: np.ndarray, path: pathlib.Path) -> None:
    """Writes a LiteRT file whose products are of 8-bit integers, calibrated on images.

    Input, output and what stands in `_IN_FLOAT` stay float32.

    Args:
        images: RGB pixels in [0, 1], float32 (count, height, width, 3).
    """
    import tensorflow as tf

    def samples():
        return ({"image": image[None]} for image in images)

    def to_int8(converter) -> bytes:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = samples
        # It is the only part of TensorFlow that leaves operations out.
        options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=[*_IN_FLOAT])
        debugger = tf.lite.experimental.QuantizationDebugger(
            converter=converter, debug_dataset=samples, debug_options=options
        )
        return debugger.get_nondebug_quantized_model()

    _write(classifier, path, to_int8)


def _write(classifier: PixelClassifier, path: pathlib.Path, to_bytes) -> None:
    import tensorflow as tf

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        # Only a SavedModel gives the file names of inputs and outputs.
        classifier.save(folder)
        path.write_bytes(to_bytes(tf.lite.TFLiteConverter.from_saved_model(folder)))


def load(path: pathlib.Path) -> Answers:
    """Returns what a file computes, in LiteRT's interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    runner = interpreter.get_signature_runner("serving_default")

    def answers(images: np.ndarray) -> dict[str, np.ndarray]:
        assert interpreter is not None  # The runner does not keep it alive.
        return runner(image=images)

    return answers
