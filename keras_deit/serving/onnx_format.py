"""ONNX files, made from TensorFlow's graph by tf2onnx."""

import functools
import pathlib

import numpy as np

from keras_deit.serving.pixel_classifier import OUTPUTS, Answers, PixelClassifier

# The newest one that tf2onnx writes.
OPSET = 18
SUFFIX = ".onnx"
_BATCH = 16


def convert(classifier: PixelClassifier, path: pathlib.Path) -> None:
    """Writes an ONNX file."""
    import onnx

    onnx.save(_model(classifier), path)


# OpenVINO and both quantizations begin with the same.
@functools.lru_cache(maxsize=1)
def _model(classifier: PixelClassifier):
    import tf2onnx

    model, _ = tf2onnx.convert.from_function(classifier.function, classifier.signature, opset=OPSET)
    return model


def quantize(classifier: PixelClassifier, images: np.ndarray, path: pathlib.Path) -> None:
    """Writes an ONNX file whose matrix products are of 8-bit integers, calibrated on images.

    The ranges of what they multiply stand in the file (QDQ). Norms, softmax and GELU stay float32,
    and so do convolutions: of int8 with a scale for each channel OpenVINO 2026.4 makes another
    result than ONNX Runtime, and the one of a patch embedding is a small part of the work.

    Args:
        images: RGB pixels in [0, 1], float32 (count, height, width, 3).
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, prepared = path.with_name("plain.onnx"), path.with_name("prepared.onnx")
    convert(classifier, plain)
    # Symbolic shapes would need SymPy, and are only needed for shapes that are not known.
    quant_pre_process(plain, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        path,
        _reader(images),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
    )
    plain.unlink()
    prepared.unlink()


def _reader(images: np.ndarray):
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        batches = iter(np.split(images, range(_BATCH, len(images), _BATCH)))

        def get_next(self):
            batch = next(self.batches, None)
            return None if batch is None else {"image": batch}

    return Reader()


def load(path: pathlib.Path) -> Answers:
    """Returns what a file computes, in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: dict(
        zip(OUTPUTS, session.run(list(OUTPUTS), {"image": images}), strict=True)
    )
