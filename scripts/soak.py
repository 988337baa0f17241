"""Kills a training again and again, and compares its result with that of an undisturbed run.

    python scripts/soak.py --kills 50 --work_dir /tmp/soak
    KERAS_BACKEND=jax python scripts/soak.py --kills 50 --work_dir /tmp/soak

Each kill is a SIGKILL at a random moment of one of three kinds: during a training step, while a
checkpoint is written, and around the end of an epoch, where the validation runs. Then the same
command is started again, which resumes the run. At the end the final, averaged and best weights,
the log and the scores must equal those of the undisturbed run, bit by bit; otherwise the exit code
is 1. The training is that of a small student on digits with a small teacher, with a checkpoint
after every step.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

# Has to be set before TensorFlow is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import keras
import numpy as np

from keras_deit.teachers import TeacherContract, pixel_format, save_teacher_model

_TRAIN = pathlib.Path(__file__).with_name("train.py")
_STUDENT = ("--embed_dim=48", "--depth=2", "--num_heads=2", "--drop_path_rate=0.2")
_TRAINING = ("--ema_decay=0.9", "--clip_norm=1", "--checkpoint_seconds=0")
# In seconds; longer than any start of a process and any step.
_TIMEOUT = 300
# Steps in an epoch of digits: 1,257 images in batches of 64.
_STEPS = 1257 // 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--kills", type=int, default=50, help="Number of kills.")
    work_dir = "Folder of the two runs and their teacher."
    add("--work_dir", type=pathlib.Path, required=True, help=work_dir)
    add("--seed", type=int, default=0, help="Seed of the moments of the kills.")
    add("--epochs", type=int, default=60, help="Epochs of the training; more for more kills.")
    values = parser.parse_args()
    if values.kills < 1:
        parser.error(f"--kills should be 1 or more. Received: {values.kills}")
    work, epochs = values.work_dir, values.epochs
    undisturbed, killed = work / "undisturbed", work / "killed"
    if killed.exists():
        print(f"error: {killed} exists already; give another --work_dir.", file=sys.stderr)
        sys.exit(2)
    _write_teacher(work / "teacher.keras")
    print(f"{keras.backend.backend()} backend; the undisturbed run comes first ...", flush=True)
    _finish(undisturbed, epochs)
    rng = random.Random(values.seed)
    counts = dict.fromkeys(_MOMENTS, 0)
    while sum(counts.values()) < values.kills:
        kind = rng.choice(list(_MOMENTS))
        if not _kill(killed, epochs, kind, rng):
            sys.exit(f"The run finished after {sum(counts.values())} kills; give more --epochs.")
        counts[kind] += 1
        print(f"kill {sum(counts.values())}, {kind}: newest is {_newest(killed)}", flush=True)
    _finish(killed, epochs)
    different = _differences(undisturbed, killed)
    by_kind = ", ".join(f"{count} around a {kind}" for kind, count in counts.items())
    print(f"{sum(counts.values())} kills: {by_kind}.")
    if different:
        print(f"Different: {', '.join(different)}.")
        sys.exit(1)
    print("Final, averaged and best weights, log and scores equal the undisturbed run's exactly.")


def _write_teacher(path: pathlib.Path) -> None:
    """Writes an untrained convnet: its accuracy does not matter here, and it loads fast."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(16, 3, strides=2),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    contract = TeacherContract(pixel_format("0-255", 16, 16), "logits", 10)
    save_teacher_model(model, contract, path)


def _start(run_dir: pathlib.Path, epochs: int) -> subprocess.Popen:
    teacher = run_dir.parent / "teacher.keras"
    arguments = [f"--run_dir={run_dir}", f"--teacher={teacher}", "--accept_teacher"]
    return subprocess.Popen(
        [sys.executable, _TRAIN, f"--epochs={epochs}", *_STUDENT, *_TRAINING, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(run_dir: pathlib.Path, epochs: int) -> None:
    process = _start(run_dir, epochs)
    _, errors = process.communicate()
    if process.returncode:
        sys.exit(f"{run_dir} ended with {process.returncode}: {errors[-2000:]}")


def _kill(run_dir: pathlib.Path, epochs: int, kind: str, rng: random.Random) -> bool:
    """Starts a run and kills it; returns False if it ended before."""
    process = _start(run_dir, epochs)
    before = _newest(run_dir)
    # A few steps later, so that the training makes progress despite the kills.
    steps = rng.randint(1, 25)
    deadline = time.monotonic() + _TIMEOUT
    while not (_steps_since(run_dir, before) >= steps and _MOMENTS[kind](run_dir)):
        if process.poll() is not None:
            return False
        if time.monotonic() > deadline:
            process.kill()
            sys.exit(f"{run_dir} made no progress within {_TIMEOUT} s.")
        time.sleep(0.0005)
    if kind != "checkpoint":
        time.sleep(rng.uniform(0, 0.1))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return True


def _newest(run_dir: pathlib.Path) -> str:
    """Returns the name of the newest checkpoint; names sort by time."""
    names = [path.name for path in (run_dir / "checkpoints").glob("epoch-*.safetensors")]
    return max(names, default="")


def _steps_since(run_dir: pathlib.Path, before: str) -> int:
    return _number(_newest(run_dir)) - _number(before)


def _number(name: str) -> int:
    """Returns the number of steps that were done when a checkpoint was written."""
    if not name:
        return 0
    _, epoch, _, step = name.removesuffix(".safetensors").split("-")
    return int(epoch) * _STEPS + int(step)


def _always(run_dir: pathlib.Path) -> bool:
    return True


def _is_writing(run_dir: pathlib.Path) -> bool:
    return any((run_dir / "checkpoints").glob("partial-*"))


def _is_at_epoch_end(run_dir: pathlib.Path) -> bool:
    """Returns whether the newest checkpoint is the last one before the end of an epoch."""
    return _newest(run_dir).endswith(f"-{_STEPS - 1:07}.safetensors")


_MOMENTS = {"step": _always, "checkpoint": _is_writing, "validation": _is_at_epoch_end}


def _differences(undisturbed: pathlib.Path, killed: pathlib.Path) -> list[str]:
    """Returns what differs between two runs, of all that does not depend on the clock."""
    different = [
        name
        for name in ("final.weights.h5", "ema.weights.h5", "best.weights.h5")
        if not _same_weights(undisturbed / name, killed / name)
    ]
    if (undisturbed / "metrics.csv").read_bytes() != (killed / "metrics.csv").read_bytes():
        different.append("metrics.csv")
    summaries = [json.loads((run / "summary.json").read_text()) for run in (undisturbed, killed)]
    for name in ("test", "test_ema", "best", "steps"):
        if summaries[0][name] != summaries[1][name]:
            different.append(name)
    return different


def _same_weights(first: pathlib.Path, second: pathlib.Path) -> bool:
    one, other = _arrays(first), _arrays(second)
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


def _arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the arrays of an HDF5 file by name."""
    found = {}

    def collect(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(collect)
    return found


if __name__ == "__main__":
    main()
