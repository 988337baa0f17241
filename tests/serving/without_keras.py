"""Computes the outputs of a SavedModel in a process in which Keras cannot be imported.

    python without_keras.py SAVED_MODEL INPUTS OUTPUTS

INPUTS and OUTPUTS are .npz files. The names of inputs are SIGNATURE.CASE, those of outputs are
SIGNATURE.CASE.OUTPUT.
"""

import sys

for name in ("keras", "keras_deit", "keras_cv", "cv2"):
    sys.modules[name] = None  # importing it raises

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

model = tf.saved_model.load(sys.argv[1])
inputs, outputs = np.load(sys.argv[2], allow_pickle=True), {}
for case in inputs.files:
    value = inputs[case]
    signature = case.split(".")[0]
    key = {"serving_default": "image", "serve_bytes": "image_bytes"}[signature]
    kind = tf.string if value.dtype == object else value.dtype
    value = tf.constant(value.tolist() if kind == tf.string else value, kind)
    for name, output in model.signatures[signature](**{key: value}).items():
        outputs[f"{case}.{name}"] = output.numpy()
assert sys.modules["keras"] is None and sys.modules["keras_deit"] is None
np.savez(sys.argv[3], **outputs)
