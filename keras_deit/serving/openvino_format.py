"""OpenVINO's files (IR), made from the ONNX file of the same model."""

import pathlib

import numpy as np

from keras_deit.serving import onnx_format
from keras_deit.serving.pixel_classifier import OUTPUTS, Answers, PixelClassifier

SUFFIX = ".xml"


def convert(classifier: PixelClassifier, path: pathlib.Path) -> None:
    """Writes an .xml file, and a .bin file with the weights beside it."""
    onnx_file = path.with_suffix(onnx_format.SUFFIX)
    onnx_format.convert(classifier, onnx_file)
    _write(onnx_file, path)


def quantize(classifier: PixelClassifier, images: np.ndarray, path: pathlib.Path) -> None:
    """Writes files that compute with 8-bit integers: those of the ONNX file, which OpenVINO keeps.

    Args:
        images: RGB pixels in [0, 1], float32 (count, height, width, 3).
    """
    onnx_file = path.with_suffix(onnx_format.SUFFIX)
    onnx_format.quantize(classifier, images, onnx_file)
    _write(onnx_file, path)


def _write(onnx_file: pathlib.Path, path: pathlib.Path) -> None:
    import openvino

    model = openvino.Core().read_model(onnx_file)
    # By default it would round the weights to 16 bits.
    openvino.save_model(model, path, compress_to_fp16=False)
    onnx_file.unlink()


def load(path: pathlib.Path) -> Answers:
    """Returns what a file computes, in OpenVINO on the CPU."""
    import openvino

    core = openvino.Core()
    # By default a processor that can computes in bfloat16.
    model = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def answers(images: np.ndarray) -> dict[str, np.ndarray]:
        found = model({"image": images})
        return {name: found[name] for name in OUTPUTS}

    return answers
