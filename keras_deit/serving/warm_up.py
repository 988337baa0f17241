"""Requests that TF Serving sends to a model when it loads it, so that the first user need not wait.

They are a TFRecord file of `PredictionLog` messages (tensorflow_serving/apis/prediction_log.proto).
The few fields are encoded here, which spares the package tensorflow-serving-api. See
https://www.tensorflow.org/tfx/serving/saved_model_warmup.
"""

import pathlib

import numpy as np
import tensorflow as tf

PLACE = pathlib.PurePath("assets.extra", "tf_serving_warmup_requests")
# The numbers of fields: PredictionLog.predict_log and PredictLog.request; of PredictRequest
# model_spec and inputs; of ModelSpec name and signature_name; of an entry of a map key and value.
_PREDICT_LOG, _REQUEST = 6, 1
_MODEL_SPEC, _INPUTS = 1, 2
_NAME, _SIGNATURE = 1, 3
_KEY, _VALUE = 1, 2


def write_warm_up(saved_model: pathlib.Path, name: str, height: int, width: int) -> None:
    """Writes a request to `serving_default` and requests with a JPEG and a PNG file.

    Args:
        saved_model: the directory of the SavedModel.
        name: the name of the served model.
        height, width: the size of the model's images in pixels.
    """
    # Of another size than the model's, so that they are resized.
    image = np.random.default_rng(0).integers(0, 256, (2 * height, 3 * width, 3), np.uint8)
    files = [tf.io.encode_jpeg(image).numpy(), tf.io.encode_png(image).numpy()]
    requests = [
        ("serving_default", "image", image[None, :height, :width] / np.float32(255)),
        *(("serve_bytes", "image_bytes", np.array([file], object)) for file in files),
    ]
    path = saved_model / PLACE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, key, value in requests:
            writer.write(_prediction_log(name, signature, key, value))


def _prediction_log(name: str, signature: str, key: str, value: np.ndarray) -> bytes:
    tensor = tf.make_tensor_proto(value).SerializeToString()
    spec = _field(_NAME, name.encode()) + _field(_SIGNATURE, signature.encode())
    entry = _field(_KEY, key.encode()) + _field(_VALUE, tensor)
    request = _field(_MODEL_SPEC, spec) + _field(_INPUTS, entry)
    return _field(_PREDICT_LOG, _field(_REQUEST, request))


def _field(number: int, content: bytes) -> bytes:
    """Returns a field of the wire type 2, which has a length: a message, string or bytes."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Returns a number with seven bits in each byte, the lowest first."""
    encoded = []
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
