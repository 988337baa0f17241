"""Sends thousands of requests from several threads to an exported SavedModel, some of them broken.

    python scripts/soak_requests.py --requests 5000 --threads 4

One request in twenty is broken, in ten ways: nine files that are empty, text, noise, cut, damaged
or declare too many pixels, and a tensor with two channels. A broken file must have `valid` false
and zeros, also beside a sound one, and the tensor must be an error. Each of the others must have
the logits that the Keras model computes for the same pixels, and the memory of the process must
stay within 2 % after the first 500 requests, or a quarter of fewer; otherwise the exit code
is 1. The model is a small one with random weights.
"""

import argparse
import collections
import os
import pathlib
import statistics
import struct
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

# Both have to be set before Keras is imported.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import keras
import numpy as np
import tensorflow as tf

from keras_deit import create_model
from keras_deit.recipes import get_recipe
from keras_deit.serving.image_files import decode
from keras_deit.serving.served_classifier import ServedClassifier
from keras_deit.serving.verification import SavedModel

_BROKEN_EVERY = 20
_TOLERANCE = 1e-4
_MAX_GROWTH = 0.02
_CLASSES = 7
# So many sound images are prepared, and sent again and again in random order.
_PREPARED = 24
_SETTLING = 500
_SAMPLE_EVERY = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=5000, help="Number of requests.")
    parser.add_argument("--threads", type=int, default=4, help="Number of threads.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of images and order.")
    values = parser.parse_args()
    for name in ("requests", "threads"):
        if getattr(values, name) < 1:
            parser.error(f"--{name} should be 1 or more. Received: {getattr(values, name)}")
    keras.utils.set_random_seed(values.seed)
    rng = np.random.default_rng(values.seed)
    sizes = {"image_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    model = create_model(get_recipe("digits").model, num_classes=_CLASSES, **sizes)
    names = [f"class {index}" for index in range(_CLASSES)]
    served = ServedClassifier(model, names, 0.9, "bicubic", True, top_k=3)
    with tempfile.TemporaryDirectory() as folder:
        served.save(pathlib.Path(folder, "model"))
        saved = SavedModel(pathlib.Path(folder, "model"))
    requests = _requests(served, rng)
    order = [_draw(number, requests, rng) for number in range(values.requests)]
    faults, counts, megabytes = _send(saved, order, values.threads)
    settled = megabytes[min(_SETTLING, values.requests // 4) // _SAMPLE_EVERY :]
    middle = statistics.median(settled)
    growth = max(abs(max(settled) / middle - 1), abs(min(settled) / middle - 1))
    sent = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
    print(f"{values.requests:,} requests, {values.threads} threads, seed {values.seed}: {sent}.")
    print(f"Wrong answers: {len(faults)}.")
    print(f"Memory: {middle:.0f} MB, within {100 * growth:.2f} % after the first requests.")
    for fault in faults[:10]:
        print(f"  {fault}")
    sys.exit(bool(faults) or growth > _MAX_GROWTH)


def _requests(served: ServedClassifier, rng: np.random.Generator) -> dict[str, list]:
    """Returns the prepared requests by kind: signature, argument, expected logits or None.

    A row of expected logits that is NaN is that of a broken file.
    """
    requests = collections.defaultdict(list)
    inputs = tf.function(served.inputs, [tf.TensorSpec([None, None, None, 3], tf.uint8)])
    for index in range(_PREPARED):
        height, width = rng.integers(20, 300, 2)
        image = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (int(width), int(height)))
        files = [cv2.imencode(kind, image)[1].tobytes() for kind in (".jpg", ".png")]
        file = files[index % 2]
        pixels = decode(tf.constant(file))[None]
        logits = served.model(inputs(pixels), training=False).numpy()
        floats = tf.image.convert_image_dtype(pixels, tf.float32)
        requests["sound"].append(("serve_bytes", tf.constant([file]), logits))
        requests["sound"].append(("serving_default", floats, logits))
        requests["tensor of two channels"].append(("serving_default", floats[..., :2], None))
        for kind, damaged in _broken(*files, image, rng).items():
            batch = [damaged, file] if index % 4 < 2 else [damaged]
            expected = np.concatenate([np.full_like(logits, np.nan), logits])[: len(batch)]
            requests[kind].append(("serve_bytes", tf.constant(batch), expected))
    return requests


def _broken(jpeg: bytes, png: bytes, image: np.ndarray, rng: np.random.Generator) -> dict:
    """Returns broken files by what is wrong with them."""
    return {
        "empty file": b"",
        "text": b"https://example.org/photo.jpg",
        "noise": rng.bytes(300),
        "JPEG that is cut": jpeg[: len(jpeg) // 2],
        "JPEG without data": jpeg[:100],
        "JPEG that declares too many pixels": _bomb(image, png=False),
        "PNG that is cut": png[: len(png) // 2],
        "PNG that is damaged": png[:-40] + bytes(9) + png[-31:],
        "PNG that declares too many pixels": _bomb(image, png=True),
    }


def _draw(number: int, requests: dict[str, list], rng: np.random.Generator):
    """Returns the kind of a request and the request; the broken kinds take turns."""
    kind = "sound"
    if number % _BROKEN_EVERY == _BROKEN_EVERY - 1:
        kinds = sorted(requests.keys() - {"sound"})
        kind = kinds[number // _BROKEN_EVERY % len(kinds)]
    return kind, requests[kind][rng.integers(len(requests[kind]))]


def _bomb(image: np.ndarray, png: bool) -> bytes:
    """Returns a file that declares 30,000 × 30,000 pixels."""
    file = bytearray(cv2.imencode(".png" if png else ".jpg", image)[1].tobytes())
    if png:
        file[16:24] = struct.pack(">II", 30_000, 30_000)
    else:
        start = file.index(b"\xff\xc0") + 5
        file[start : start + 4] = struct.pack(">HH", 30_000, 30_000)
    return bytes(file)


def _send(saved: SavedModel, order: list, threads: int):
    """Returns what went wrong, how many requests were sent by kind, and the memory meanwhile."""
    faults, counts, megabytes = [], collections.Counter(), []
    lock = threading.Lock()

    def send(request):
        kind, (name, argument, expected) = request
        fault = _fault(saved, name, argument, expected)
        with lock:
            counts[f"sound to {name}" if kind == "sound" else kind] += 1
            if fault:
                faults.append(f"{kind} to {name}: {fault}")
            if counts.total() % _SAMPLE_EVERY == 0:
                megabytes.append(_resident_megabytes())

    start = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(send, order))
    print(f"{len(order) / (time.monotonic() - start):.0f} requests/s.")
    return faults, counts, megabytes


def _fault(saved: SavedModel, name: str, argument, expected: np.ndarray | None) -> str:
    """Sends a request and returns what is wrong with its answer; empty if nothing is."""
    key = "image_bytes" if name == "serve_bytes" else "image"
    try:
        answer = {k: v.numpy() for k, v in saved.signatures[name](**{key: argument}).items()}
    except (tf.errors.OpError, TypeError, ValueError) as error:
        return "" if expected is None else str(error).splitlines()[0]
    if expected is None:
        return "no error"
    is_sound = ~np.isnan(expected).any(-1)
    if name == "serve_bytes" and answer["valid"].tolist() != is_sound.tolist():
        return f"valid is {answer['valid']}"
    difference = np.abs(answer["logits"] - np.where(is_sound[:, None], expected, 0)).max()
    return "" if difference <= _TOLERANCE else f"off by {difference}"


def _resident_megabytes() -> float:
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
