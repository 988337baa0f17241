"""Kills a training again and again, and compares what it ends with to one never killed.

    python scripts/soak.py --kills 50 --work_dir /tmp/soak
    KERAS_BACKEND=jax python scripts/soak.py --kills 50 --work_dir /tmp/soak

Each kill is a SIGKILL at a random moment of one of these kinds: while steps are trained, while a
checkpoint is written, and around an epoch's end, where the validation is. The command is then
given again. At the end the final, averaged and best weights, the log and the scores must be those
of the run that was not killed, to the bit; exit code 1 where they are not. What is trained is a
small student on digits, beside a small teacher, with a checkpoint after every step.
"""

import command  # isort: skip  (loads Keras without the noise)
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import h5py
import keras
import numpy as np
from absl import flags

from keras_deit import InputError
from keras_deit.teachers import pixel_format, save_teacher_model
from keras_deit.teachers.teacher import TeacherContract

_KILLS = flags.DEFINE_integer("kills", 50, "How often the training is killed.", lower_bound=1)
_WORK_DIR = flags.DEFINE_string("work_dir", None, "For the two runs.", required=True)
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments.")
_EPOCHS = flags.DEFINE_integer("epochs", 60, "Of the training; more for more kills.")

_TRAIN = pathlib.Path(__file__).with_name("train.py")
_STUDENT = ("--embed_dim=48", "--depth=2", "--num_heads=2", "--drop_path_rate=0.2")
_TRAINING = ("--ema_decay=0.9", "--clip_norm=1", "--checkpoint_seconds=0")
# Longer than any start and any step.
_PATIENCE = 300
# In an epoch of digits: 1,257 images in batches of 64.
_STEPS = 1257 // 64


def main() -> None:
    work = pathlib.Path(_WORK_DIR.value)
    whole, killed = work / "whole", work / "killed"
    if killed.exists():
        raise InputError(f"{killed} is there already; give another --work_dir.")
    _keep_teacher(work / "teacher.keras")
    print(f"{os.environ.get('KERAS_BACKEND', 'default')} backend; the run that is not killed ...")
    _finish(whole)
    rng = random.Random(_SEED.value)
    counts = dict.fromkeys(_MOMENTS, 0)
    while sum(counts.values()) < _KILLS.value:
        kind = rng.choice(list(_MOMENTS))
        if not _kill(killed, kind, rng):
            sys.exit(f"The run ended after {sum(counts.values())} kills; give it more --epochs.")
        counts[kind] += 1
        print(f"kill {sum(counts.values())}, {kind}: newest {_newest(killed)}", flush=True)
    _finish(killed)
    different = _differences(whole, killed)
    told = ", ".join(f"{count} around a {kind}" for kind, count in counts.items())
    print(f"{sum(counts.values())} kills: {told}.")
    if different:
        print(f"Different: {', '.join(different)}.")
        sys.exit(1)
    print("Weights, averages, best weights, log and scores are those of the other run, to the bit.")


def _keep_teacher(path: pathlib.Path) -> None:
    """A convnet as it was born: how good it is does not matter here, and it loads fast."""
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


def _start(run_dir: pathlib.Path) -> subprocess.Popen:
    arguments = [f"--run_dir={run_dir}", f"--teacher={run_dir.parent / 'teacher.keras'}"]
    return subprocess.Popen(
        [sys.executable, _TRAIN, f"--epochs={_EPOCHS.value}", *_STUDENT, *_TRAINING, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(run_dir: pathlib.Path) -> None:
    process = _start(run_dir)
    _, errors = process.communicate()
    if process.returncode:
        sys.exit(f"{run_dir} ended with {process.returncode}: {errors[-2000:]}")


def _kill(run_dir: pathlib.Path, kind: str, rng: random.Random) -> bool:
    """Starts a run and kills it; False where it ended before."""
    process = _start(run_dir)
    before = _newest(run_dir)
    # Some steps on, so that the training gets further in spite of it all.
    steps = rng.randint(1, 25)
    deadline = time.monotonic() + _PATIENCE
    while not (_steps_since(run_dir, before) >= steps and _MOMENTS[kind](run_dir)):
        if process.poll() is not None:
            return False
        if time.monotonic() > deadline:
            process.kill()
            sys.exit(f"{run_dir} did not get on within {_PATIENCE} s.")
        time.sleep(0.0005)
    if kind != "checkpoint":
        time.sleep(rng.uniform(0, 0.1))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return True


def _newest(run_dir: pathlib.Path) -> str:
    """The name of the newest checkpoint; names are in the order of time."""
    names = [path.name for path in (run_dir / "checkpoints").glob("epoch-*.safetensors")]
    return max(names, default="")


def _steps_since(run_dir: pathlib.Path, before: str) -> int:
    return _number(_newest(run_dir)) - _number(before)


def _number(name: str) -> int:
    """Steps that were done when a checkpoint was written."""
    if not name:
        return 0
    _, epoch, _, step = name.removesuffix(".safetensors").split("-")
    return int(epoch) * _STEPS + int(step)


def _any(run_dir: pathlib.Path) -> bool:
    return True


def _is_writing(run_dir: pathlib.Path) -> bool:
    return any((run_dir / "checkpoints").glob("partial-*"))


def _is_at_epoch_end(run_dir: pathlib.Path) -> bool:
    """Whether the newest checkpoint is the last one before an epoch's end."""
    return _newest(run_dir).endswith(f"-{_STEPS - 1:07}.safetensors")


_MOMENTS = {"step": _any, "checkpoint": _is_writing, "validation": _is_at_epoch_end}


def _differences(whole: pathlib.Path, killed: pathlib.Path) -> list[str]:
    """What two runs do not have in common, of all that does not depend on the clock."""
    different = [
        name
        for name in ("final.weights.h5", "ema.weights.h5", "best.weights.h5")
        if not _same_weights(whole / name, killed / name)
    ]
    if (whole / "metrics.csv").read_bytes() != (killed / "metrics.csv").read_bytes():
        different.append("metrics.csv")
    summaries = [json.loads((run / "summary.json").read_text()) for run in (whole, killed)]
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
    found = {}

    def collect(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(collect)
    return found


if __name__ == "__main__":
    command.run(main)
