"""Exported models as contenders of a benchmark, in the runtimes that take them."""

import importlib
import pathlib
import sys
import tempfile
from collections.abc import Callable

from keras_deit.benchmarking.worker import Task

# The package of a backend, where it has another name.
_PACKAGES = {"onnx": "onnxruntime"}
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


class CPURuntime:
    """The place of an exported model, in the terms of a framework; it has no product to measure."""

    device = "CPU"
    accelerated = False

    def on_device(self, array):
        return array

    def peak_memory(self) -> None:
        """Returns None: it has no GPU."""


def exported_step(task: Task, batch: Callable) -> tuple[CPURuntime, Callable, dict[str, str]]:
    """Exports a model and returns its place, its step, and versions of packages by name.

    Args:
        task: what the contender does; its backend is "onnx" or "openvino".
        batch: returns images and labels for a task and a framework.
    """
    if task.mode != "inference":
        sys.exit("An exported model has no training step.")
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    from keras_deit.pretrained import create_model
    from keras_deit.serving.onnx_format import convert
    from keras_deit.serving.pixel_classifier import PixelClassifier
    from keras_deit.version import __version__

    framework = CPURuntime()
    images, _ = batch(task, framework, channels_first=False)
    model = create_model(task.model, image_size=task.image_size)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.onnx"
        convert(PixelClassifier(model), path)
        forward = {"onnx": _onnx, "openvino": _openvino}[task.backend](str(path), task)
    package = _PACKAGES.get(task.backend, task.backend)
    version = importlib.import_module(package).__version__
    return framework, lambda: forward(images), {"keras_deit": __version__, package: version}


def _onnx(path: str, task: Task) -> Callable:
    import onnxruntime

    if task.precision != "float32":
        sys.exit(f"ONNX Runtime computes an exported model in float32, not in {task.precision}.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"image": images})


def _openvino(path: str, task: Task) -> Callable:
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": _PRECISIONS[task.precision],
        "INFERENCE_NUM_THREADS": task.threads,
    }
    model = core.compile_model(core.read_model(path), "CPU", settings)
    return lambda images: model({"image": images})
