"""Damages files of every format that is read, and checks what reading them does.

    python scripts/soak_files.py --files 500 --work_dir /tmp/soak_files

Bits are flipped, ends cut off, stretches overwritten with zeros, and bytes inserted or appended, at
random places. A damaged file must give one line that explains it, or the values that were written.
Every other error counts as a failure, and so do other values where the format has checksums or this
package has written a digest; where neither can tell, they are counted. The exit code is 1 if there
was a failure.
"""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator

# Has to be set before TensorFlow is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import keras
import numpy as np
from safetensors.numpy import load_file, save_file

from keras_deit import InputError, create_model, list_models, load_pretrained
from keras_deit.data.images import decode
from keras_deit.evaluation import final_report
from keras_deit.pretrained import save_safetensors
from keras_deit.pretrained.conversion import save_model
from keras_deit.teachers import (
    TeacherContract,
    load_teacher_model,
    pixel_format,
    save_teacher_model,
)
from keras_deit.training import Run
from keras_deit.training.checkpoints.file import read_checkpoint, write_checkpoint

# Any small transformer.
_NAME = list_models("*_tiny_patch16_224")[-1]
_VALUES = {"image_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 2, "num_heads": 2}
_VALUES["num_classes"] = 3
# In seconds; longer than any of the small files takes.
_TIMEOUT = 120


@dataclasses.dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        path: an undamaged file.
        read: reads it, and returns its values in a form that can be compared.
        checked: whether all values are protected by a checksum of the format or a digest of ours.
    """

    path: pathlib.Path
    read: Callable[[pathlib.Path], object]
    checked: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=500, help="Damaged files of each format.")
    parser.add_argument("--work_dir", type=pathlib.Path, required=True, help="An empty folder.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the damage.")
    parser.add_argument("--formats", default="", help="Only those whose names contain this.")
    values = parser.parse_args()
    if values.work_dir.exists() and any(values.work_dir.iterdir()):
        parser.error(f"--work_dir should be an empty folder. Received: {values.work_dir}")
    values.work_dir.mkdir(parents=True, exist_ok=True)
    failures = 0
    print(f"{keras.backend.backend()} backend, seed {values.seed}, {values.files} files of each.")
    print(f"{'format':24}{'one line':>10}{'same':>8}{'other':>8}{'failed':>8}{'seconds':>9}")
    for name, kind in _formats(values.work_dir).items():
        if values.formats not in name:
            continue
        start = time.monotonic()
        counts = _soak(name, kind, values.files, values.seed)
        row = "".join(f"{counts[key]:>{width}}" for key, width in _COLUMNS.items())
        print(f"{name:24}{row}{time.monotonic() - start:>9.0f}", flush=True)
        failures += counts["failed"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{failures} failures; the largest memory was {peak:.2f} GiB.")
    sys.exit(1 if failures else 0)


_COLUMNS = {"line": 10, "same": 8, "other": 8, "failed": 8}


def _soak(name: str, kind: Format, files: int, seed: int) -> collections.Counter:
    """Returns how often each outcome was seen, and prints the failures."""
    whole = kind.path.read_bytes()
    expected = kind.read(kind.path)
    counts = collections.Counter()
    for index in range(files):
        rng = random.Random(f"{name} {seed} {index}")
        damage = list(_DAMAGES)[index % len(_DAMAGES)]
        kind.path.write_bytes(_DAMAGES[damage](whole, rng))
        outcome, reason = _outcome(kind, expected)
        counts[outcome] += 1
        if outcome == "failed":
            print(f"  {name}, file {index}, {damage}: {reason}", flush=True)
    kind.path.write_bytes(whole)
    return counts


def _outcome(kind: Format, expected) -> tuple[str, str]:
    signal.signal(signal.SIGALRM, _took_too_long)
    signal.alarm(_TIMEOUT)
    try:
        same = kind.read(kind.path) == expected
    except InputError as error:
        has_text = bool(str(error).strip().splitlines()[:1])
        return ("line", "") if has_text else ("failed", "an error without a text")
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.alarm(0)
    if same:
        return "same", ""
    return ("failed", "other values") if kind.checked else ("other", "")


def _took_too_long(*args):
    raise TimeoutError(f"more than {_TIMEOUT} s")


def _flipped(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 8, 200))):
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _zeroed(data: bytes, rng: random.Random) -> bytes:
    start, length = rng.randrange(len(data)), rng.choice((1, 64, 4096))
    return (data[:start] + bytes(length) + data[start + length :])[: len(data)]


def _grown(data: bytes, rng: random.Random) -> bytes:
    place = rng.choice((len(data), rng.randrange(len(data))))
    return data[:place] + rng.randbytes(rng.choice((1, 100, 5000))) + data[place:]


_DAMAGES = {"flipped": _flipped, "cut": _cut, "zeroed": _zeroed, "grown": _grown}


def _formats(folder: pathlib.Path) -> dict[str, Format]:
    """Writes a file of each format."""
    keras.utils.set_random_seed(0)
    model = create_model(_NAME, **_VALUES)
    return {
        **dict(_weight_formats(folder, model)),
        **dict(_run_formats(folder / "run", model)),
        **dict(_teacher_formats(folder)),
        **dict(_image_formats(folder)),
    }


def _weight_formats(folder: pathlib.Path, model) -> Iterator[tuple[str, Format]]:
    """Yields files of weights; those of others have no checksums."""
    import torch

    twin = create_model(_NAME, **_VALUES)
    zeros = [np.zeros_like(weight) for weight in twin.get_weights()]

    def read(path):
        twin.set_weights(zeros)
        load_pretrained(twin, path)
        return [weight.tobytes() for weight in twin.get_weights()]

    for name in ("own.safetensors", "own.keras", "own.weights.h5"):
        save_model(model, folder / name)
        yield name, Format(folder / name, read, True)
    model.save_weights(folder / "keras.weights.h5")
    save_safetensors(model, folder / "of_others.safetensors")
    tensors = load_file(folder / "of_others.safetensors")
    save_file(tensors, folder / "of_others.safetensors")
    as_torch = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
    torch.save(as_torch, folder / "zip.pth")
    torch.save(as_torch, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    np.savez(folder / "numpy.npz", **tensors)
    index = {"weight_map": dict.fromkeys(tensors, "of_others.safetensors")}
    (folder / "index.json").write_text(json.dumps(index))
    # Of numpy.npz NumPy reads the names and shapes from the content, which has checksums too.
    checked = {"zip.pth", "numpy.npz", "index.json"}
    others = ("keras.weights.h5", "of_others.safetensors", "legacy.pth")
    for name in (*others, *sorted(checked)):
        yield name, Format(folder / name, read, name in checked)


def _run_formats(folder: pathlib.Path, model) -> Iterator[tuple[str, Format]]:
    """Yields the files of a finished run, which are read together."""
    run = Run(folder)
    run.start(
        {
            "run": {"dataset": "digits", "objective": {"name": "supervised"}},
            "model": {"name": _NAME, **_VALUES},
            "data_dir": None,
            "class_names": ["a", "b", "c"],
            "crop_ratio": 1.0,
            "interpolation": "bicubic",
            "teacher": None,
            "teacher_contract": None,
        }
    )
    run.write_metrics([{"epoch": 0, "loss": 1.5}, {"epoch": 1, "loss": 0.5}])
    run.save_weights(model, run.final_weights)
    scores = {"test": {"class": {"top1": 0.5}}, "test_examples": 6}
    speed = {"median_step_ms": 1.5, "images_per_second": 10.0}
    run.finish({**scores, **speed, "skipped_steps": 0, "bad_images": []})

    def read(path):
        # Where the data are is no value that figures depend on.
        config = {name: run.config[name] for name in ("model", "class_names", "crop_ratio")}
        shown = config, run.history, final_report(run)
        return shown, [weight.tobytes() for weight in run.model().get_weights()]

    # A summary that is damaged in a figure is what evaluating the run again shows.
    for path in (run.config_file, run.metrics_file, run.final_weights, run.summary_file):
        yield f"run/{path.name}", Format(path, read, path != run.summary_file)

    def read_state(path):
        tensors, metadata = read_checkpoint(path)
        return {name: tensor.tobytes() for name, tensor in tensors.items()}, metadata

    state = {f"model {index}": weight for index, weight in enumerate(model.get_weights())}
    write_checkpoint(folder / "checkpoint.safetensors", state, {"progress": {"epoch": 1}})
    yield "checkpoint.safetensors", Format(folder / "checkpoint.safetensors", read_state, True)


def _teacher_formats(folder: pathlib.Path) -> Iterator[tuple[str, Format]]:
    layers = [keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(), keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers, keras.layers.Dense(3)])
    contract = TeacherContract(pixel_format("0-255", 8, 8), "logits", 3)
    path = folder / "teacher.keras"
    save_teacher_model(model, contract, path)

    def read(_):
        teacher, held = load_teacher_model(path)
        return [weight.tobytes() for weight in teacher.get_weights()], held

    yield "teacher.keras", Format(path, read, True)
    yield "teacher.json", Format(path.with_suffix(".json"), read, False)


def _image_formats(folder: pathlib.Path) -> Iterator[tuple[str, Format]]:
    """Yields images. Decoders go on after much damage, and JPEG, BMP and WebP have no checksums."""
    small = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    image = cv2.resize(small, (96, 80), interpolation=cv2.INTER_CUBIC)
    for suffix in ("jpg", "png", "bmp", "webp"):
        path = folder / f"image.{suffix}"
        cv2.imwrite(str(path), image)
        yield path.name, Format(path, lambda p: decode(p.read_bytes(), p.name).tobytes(), False)


if __name__ == "__main__":
    main()
