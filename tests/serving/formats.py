"""Runs the files of an export as their users do, without this package."""

import importlib.util

import numpy as np
import pytest

PACKAGES = {
    "onnx": ("onnxruntime", "tf2onnx"),
    "litert": ("ai_edge_litert",),
    "openvino": ("openvino", "tf2onnx"),
}
SUFFIXES = {"onnx": ".onnx", "litert": ".tflite", "openvino": ".xml"}


def need(*formats):
    """Skips the test if the packages of a format are not installed."""
    for name in formats:
        if not all(map(importlib.util.find_spec, PACKAGES[name])):
            pytest.skip(f"needs pip install 'keras-deit[{name}]'")


def answers(name, folder, images, stem="model"):
    """Returns logits and probabilities of pixels (B, height, width, 3)."""
    path = str(folder / f"{stem}{SUFFIXES[name]}")
    if name == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        return session.run(["logits", "probabilities"], {"image": images})
    if name == "litert":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(path)
        found = interpreter.get_signature_runner()(image=images)
    else:
        import openvino

        # With the default a processor that can computes in bfloat16.
        config = {"INFERENCE_PRECISION_HINT": "f32"}
        found = openvino.compile_model(path, "CPU", config)({"image": images})
    return [found[output] for output in ("logits", "probabilities")]


def expected(model, images):
    """Returns what the Keras model answers about pixels."""
    image_format = model.image_format
    inputs = (images - np.array(image_format.mean)) / np.array(image_format.std)
    logits = np.asarray(model(inputs.astype("float32")), np.float64)
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return [logits, exponentials / exponentials.sum(-1, keepdims=True)]
