"""Writes small classifiers of images as SavedModels and ONNX files."""

import numpy as np


def kernel(classes: int = 10, size: int = 16, seed: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.05, (size * size * 3, classes)).astype("float32")


def save_saved_model(path, classes: int = 10, size: int | None = 16, output="logits", **further):
    """Writes a linear classifier of pixels in [0, 1], with further outputs of other shapes."""
    import tensorflow as tf

    weight = tf.Variable(kernel(classes, size or 16))

    @tf.function(input_signature=[tf.TensorSpec((None, size, size, 3), tf.float32, "pixels")])
    def serve(pixels):
        flat = tf.reshape(pixels, (tf.shape(pixels)[0], -1))
        return {output: flat @ weight, **{k: tf.reduce_sum(pixels) * v for k, v in further.items()}}

    module = tf.Module()
    module.weight, module.serve = weight, serve
    tf.saved_model.save(module, str(path), signatures={"serve": serve})
    return path


def save_onnx(path, classes=10, size=16, batch: int | None = None, channels=3, seed=4):
    """Writes a linear classifier of the channels-first images of PyTorch."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = kernel(classes, size, seed).reshape(size, size, 3, classes).transpose(2, 0, 1, 3)
    weight = np.resize(weight, (channels * size * size, classes))
    shape = (batch or "batch", channels, size, size)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "weight"], ["scores"]),
        ],
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, (batch or "batch", classes))],
        [numpy_helper.from_array(np.ascontiguousarray(weight), "weight")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    return path
