"""Sends thousands of requests to an exported SavedModel, some of them broken.

    python scripts/soak_requests.py --requests 5000

One request in twenty is broken: an image file that is cut, empty, no image or declares too many
pixels, or a tensor of another shape. Each of the others must have the logits that the Keras model
computes for the same pixels, each broken one must be an error, and the memory of the process must
stay within 2 % after the first fifth of the requests; otherwise the exit code is 1. The model is a
small one with random weights.
"""

import argparse
import collections
import os
import pathlib
import statistics
import struct
import sys
import tempfile
import time

# Both have to be set before Keras is imported.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import keras
import numpy as np
import tensorflow as tf

from keras_deit import create_model
from keras_deit.recipes import get_recipe
from keras_deit.serving.evaluation_view import decode
from keras_deit.serving.served_classifier import ServedClassifier
from keras_deit.serving.verification import SavedModel

_BROKEN_EVERY = 20
_TOLERANCE = 1e-4
_MAX_GROWTH = 0.02
_CLASSES = 7
# So many requests of each kind are prepared, and sent again and again in random order.
_PREPARED = 24
_SAMPLE_EVERY = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=5000, help="Number of requests.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of images and order.")
    values = parser.parse_args()
    if values.requests < 1:
        parser.error(f"--requests should be 1 or more. Received: {values.requests}")
    keras.utils.set_random_seed(values.seed)
    rng = np.random.default_rng(values.seed)
    sizes = {"image_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    model = create_model(get_recipe("digits").model, num_classes=_CLASSES, **sizes)
    names = [f"class {index}" for index in range(_CLASSES)]
    served = ServedClassifier(model, names, 0.9, "bicubic", True, top_k=3)
    with tempfile.TemporaryDirectory() as folder:
        served.save(pathlib.Path(folder, "model"))
        saved = SavedModel(pathlib.Path(folder, "model"))
    faults, counts, megabytes = _send(values.requests, saved, _requests(served, rng), rng)
    settled = megabytes[len(megabytes) // 5 :]
    middle = statistics.median(settled)
    growth = max(abs(max(settled) / middle - 1), abs(min(settled) / middle - 1))
    sent = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
    print(f"{values.requests:,} requests with seed {values.seed}: {sent}.")
    print(f"Wrong answers, or broken requests without an error: {len(faults)}.")
    print(f"Memory: {middle:.0f} MB, within {100 * growth:.2f} % after the first fifth.")
    for fault in faults[:10]:
        print(f"  {fault}")
    sys.exit(bool(faults) or growth > _MAX_GROWTH)


def _requests(served: ServedClassifier, rng: np.random.Generator) -> dict[str, list]:
    """Returns the prepared requests, sound and broken: signature, argument, expected logits."""
    sound, broken = [], []
    for index in range(_PREPARED):
        height, width = rng.integers(20, 300, 2)
        image = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (int(width), int(height)))
        file = cv2.imencode((".jpg", ".png")[index % 2], image)[1].tobytes()
        pixels = decode(tf.constant(file))[None]
        logits = served.model(served.inputs(pixels), training=False).numpy()
        sound.append(("serve_bytes", tf.constant([file]), logits))
        sound.append(("serving_default", pixels, logits))
        kinds = (file[: len(file) // 2], b"", rng.bytes(300), _bomb(image, index % 2))
        broken.append(("serve_bytes", tf.constant([kinds[index // 2 % 4]]), None))
        broken.append(("serving_default", pixels[..., :2], None))
    return {"sound": sound, "broken": broken}


def _bomb(image: np.ndarray, png: int) -> bytes:
    """Returns a file that declares 30,000 × 30,000 pixels."""
    file = bytearray(cv2.imencode(".png" if png else ".jpg", image)[1].tobytes())
    if png:
        file[16:24] = struct.pack(">II", 30_000, 30_000)
    else:
        start = file.index(b"\xff\xc0") + 5
        file[start : start + 4] = struct.pack(">HH", 30_000, 30_000)
    return bytes(file)


def _send(count: int, saved: SavedModel, requests: dict, rng: np.random.Generator):
    """Returns what went wrong, how many requests were sent by kind, and the memory meanwhile."""
    faults, counts, megabytes = [], collections.Counter(), []
    start = time.monotonic()
    for number in range(count):
        kind = "broken" if number % _BROKEN_EVERY == _BROKEN_EVERY - 1 else "sound"
        name, argument, expected = requests[kind][rng.integers(len(requests[kind]))]
        counts[f"{kind} of {name}"] += 1
        key = "image_bytes" if name == "serve_bytes" else "image"
        try:
            found = saved.signatures[name](**{key: argument})["logits"].numpy()
        except (tf.errors.OpError, TypeError, ValueError) as error:
            if expected is not None:
                faults.append(f"request {number}, {name}: {str(error).splitlines()[0]}")
        else:
            difference = np.inf if expected is None else np.abs(found - expected).max()
            if not difference <= _TOLERANCE:
                faults.append(f"request {number}, {kind} of {name}: off by {difference}")
        if number % _SAMPLE_EVERY == 0:
            megabytes.append(_resident_megabytes())
    print(f"{count / (time.monotonic() - start):.0f} requests/s.")
    return faults, counts, megabytes


def _resident_megabytes() -> float:
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
