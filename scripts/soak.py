"""Kills trainings, exports and conversions again and again, and compares with undisturbed ones.

    python scripts/soak.py --kills 4 --work_dir /tmp/soak --backends jax --subjects student export

Each kill is a SIGKILL at a random moment, spread over the backends and over

- `student`: a small student on digits with everything that is random or has a state: dropout,
  stochastic depth, Mixup, CutMix, erasing, repeated augmentation, EMA, accumulated gradients,
  bfloat16, activation checkpointing;
- `teacher`: `keras-deit train-teacher` with dropout, noise, batch normalization, Mixup, erasing;
- `export` of the student, where an older version is;
- `convert` of the student's weights, over an older file.

A training is killed during a step, while a checkpoint is written, or around the end of an epoch,
where the validation runs; there is a checkpoint after every step. Then the same command is started
again. At the end weights, log and scores must equal those of the undisturbed training, bit by bit.
After every kill of an export or conversion what was there must still be there, and what the same
command gives next must equal the undisturbed result. Otherwise the exit code is 1.
"""

import argparse
import collections
import itertools
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

# Has to be set before TensorFlow is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from soak_results import files_below, given, is_partial

from keras_deit.teachers import TeacherContract, pixel_format, save_teacher_model

_SCRIPTS = pathlib.Path(__file__).parent
_BACKENDS = ("tensorflow", "jax", "torch")
_SUBJECTS = ("student", "teacher", "export", "convert")
_STUDENT = (
    *("--embed_dim=32", "--depth=2", "--num_heads=2", "--drop_path_rate=0.2", "--dropout_rate=0.2"),
    *("--mixup_alpha=0.8", "--cutmix_alpha=1", "--erase_probability=0.25"),
    *("--repeated_augmentation=2", "--ema_decay=0.9", "--clip_norm=1", "--accumulation_steps=2"),
    *("--mixed_precision=bfloat16", "--activation_checkpointing", "--checkpoint_seconds=0"),
    *("--train_examples=640", "--batch_size=64"),
)
_TEACHER = (
    *("--mixup_alpha=0.8", "--erase_probability=0.25", "--checkpoint_seconds=0"),
    "--batch_size=64",
)
# In seconds; longer than any start of a process and any step.
_TIMEOUT = 600
# Steps in an epoch, and what the number of a checkpoint counts in a step.
_STEPS = {"student": 640 // 64, "teacher": 1257 // 64}
_MICRO_BATCHES = {"student": 2, "teacher": 1}
_FORMATS = (".safetensors", ".weights.h5", ".keras")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--kills", type=int, default=50, help="Number of kills, of all together.")
    work_dir = "Folder of what is trained and written; it must not exist or be empty."
    add("--work_dir", type=pathlib.Path, required=True, help=work_dir)
    add("--seed", type=int, default=0, help="Seed of the moments of the kills.")
    add("--epochs", type=int, default=3, help="Epochs of a training.")
    add("--backends", nargs="+", choices=_BACKENDS, default=_BACKENDS, help="Where to train.")
    add("--subjects", nargs="+", choices=_SUBJECTS, default=_SUBJECTS, help="What is killed.")
    values = parser.parse_args()
    if values.kills < 1:
        parser.error(f"--kills should be 1 or more. Received: {values.kills}")
    work = values.work_dir.resolve()
    if work.exists() and any(work.iterdir()):
        print(f"error: {work} is not empty; give another --work_dir.", file=sys.stderr)
        sys.exit(2)
    work.mkdir(parents=True, exist_ok=True)
    _write_untrained_teacher(work / "untrained.keras")
    pairs = list(itertools.product(values.backends, values.subjects))
    kills = collections.Counter(itertools.islice(itertools.cycle(pairs), values.kills))
    wrong = []
    print(f"{values.kills} kills, seed {values.seed}, {values.epochs} epochs.", flush=True)
    for backend in values.backends:
        soak = Soak(backend, work / backend, values.epochs, values.seed)
        soak.train_undisturbed(values.subjects)
        for subject in values.subjects:
            if kills[backend, subject]:
                wrong += soak.kill(subject, kills[backend, subject])
    if wrong:
        sys.exit("\n".join(wrong))
    print("Everything equals what the undisturbed commands gave.")


class Soak:
    """Kills what runs on one backend.

    Args:
        backend: of the trainings.
        folder: for all files; `untrained.keras` is beside it.
        epochs: of each training.
        seed: of the moments of the kills.
    """

    def __init__(self, backend: str, folder: pathlib.Path, epochs: int, seed: int):
        self._backend = backend
        self._folder = folder
        self._epochs = epochs
        self._rng = random.Random(f"{seed} {backend}")
        self._seconds = {}
        self._results = {}
        folder.mkdir()

    def train_undisturbed(self, subjects: list[str]) -> None:
        """Trains a teacher, and a student with it if one is needed."""
        self._undisturbed("teacher")
        if set(subjects) != {"teacher"}:
            self._undisturbed("student")

    def kill(self, subject: str, kills: int) -> list[str]:
        """Kills one subject so many times; returns what is wrong afterwards."""
        kill = self._kill_trainings if subject in _STEPS else self._kill_writers
        counts, wrong = collections.Counter(), []
        kill(subject, kills, counts, wrong)
        by_kind = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        result = "DIFFERENT" if wrong else "identical"
        print(f"{self._backend} {subject}: {kills} kills ({by_kind}): {result}", flush=True)
        return [f"{self._backend} {subject}: {what}" for what in wrong]

    def _kill_trainings(self, subject, kills, counts, wrong):
        """A training that ends before all kills are done is followed by another one."""
        for number in itertools.count():
            folder = self._folder / f"killed-{number}"
            while counts.total() < kills:
                kind = self._rng.choice(list(_MOMENTS))
                if not self._kill_training(subject, folder, kind):
                    break
                counts[kind] += 1
            else:
                self._finish(subject, folder)
            one, other = self._undisturbed(subject), given(subject, folder)
            wrong += [
                name for name in one.keys() | other.keys() if one.get(name) != other.get(name)
            ]
            if counts.total() == kills:
                return

    def _kill_training(self, subject: str, folder: pathlib.Path, kind: str) -> bool:
        """Starts a training and kills it; returns False if it ended before."""
        process = self._start(subject, folder)
        progress = _Progress(subject, folder)
        # A few steps later, so that the training makes progress despite the kills.
        steps = progress.steps() + self._rng.randint(1, 10)
        while not (progress.steps() >= steps and _MOMENTS[kind](progress)):
            if process.poll() is not None:
                self._end(process, folder)
                return False
            self._wait(process)
        if kind != "checkpoint":
            time.sleep(self._rng.uniform(0, 0.1))
        _kill(process)
        return True

    def _kill_writers(self, subject, kills, counts, wrong):
        """Kills exports or conversions of the averaged weights, where the final ones are."""
        for number in range(kills):
            ending = self._rng.choice(_FORMATS) if subject == "convert" else ""
            folder = self._folder / f"{subject}-{number}"
            complete = self._undisturbed(subject, ending)
            self._finish(subject, folder, ending, weights="final")
            before = files_below(folder)
            kind = self._rng.choice(("any moment", "while writing"))
            process = self._start(subject, folder, ending)
            self._sleep_before(kind, folder, process, self._seconds[subject])
            _kill(process)
            counts[kind] += 1
            if not self._intact(subject, folder, ending, before):
                wrong.append(f"what was in {folder} is not intact")
            self._finish(subject, folder, ending)
            if given(subject, folder, ending) != complete:
                wrong.append(f"{folder} is not what an undisturbed command writes")

    def _intact(self, subject, folder, ending, before) -> bool:
        """Returns whether only what was there before a kill is there, or the whole result."""
        now = {path: digest for path, digest in files_below(folder).items() if not is_partial(path)}
        if now == before:
            return True
        kept = subject == "convert" or before.items() <= now.items()
        return kept and given(subject, folder, ending) == self._undisturbed(subject, ending)

    def _sleep_before(self, kind: str, folder: pathlib.Path, process, seconds: float) -> None:
        writing = kind == "while writing"
        while writing and process.poll() is None and not any(map(is_partial, folder.iterdir())):
            self._wait(process)
        moment = time.monotonic() + self._rng.uniform(0, 0.2 * seconds if writing else seconds)
        while time.monotonic() < moment and process.poll() is None:
            self._wait(process)

    def _undisturbed(self, subject: str, ending: str = "") -> dict:
        """Runs a command to its end, unless that was done; returns what it has given."""
        if (subject, ending) not in self._results:
            start, folder = time.monotonic(), self._folder / "undisturbed"
            self._finish(subject, folder, ending)
            self._seconds[subject] = time.monotonic() - start
            print(f"{self._backend} {subject} takes {self._seconds[subject]:.0f} s", flush=True)
            self._results[subject, ending] = given(subject, folder, ending)
        return self._results[subject, ending]

    def _finish(self, subject, folder, ending="", weights="ema") -> None:
        self._end(self._start(subject, folder, ending, weights), folder)

    def _end(self, process: subprocess.Popen, folder: pathlib.Path) -> None:
        _, errors = process.communicate()
        if process.returncode:
            sys.exit(f"{folder} ended with {process.returncode}: {errors[-2000:]}")

    def _wait(self, process: subprocess.Popen) -> None:
        if time.monotonic() > self._deadline:
            _kill(process)
            sys.exit(f"A process made no progress within {_TIMEOUT} s: {process.args}")
        time.sleep(0.0005)

    def _start(self, subject, folder, ending="", weights="ema") -> subprocess.Popen:
        folder.mkdir(exist_ok=True)
        self._deadline = time.monotonic() + _TIMEOUT
        # An export needs TensorFlow, whatever has trained.
        backend = "tensorflow" if subject == "export" else self._backend
        script, *flags = getattr(self, f"_{subject}")(folder, ending, weights)
        return subprocess.Popen(
            [sys.executable, _SCRIPTS / script, *flags],
            env={**os.environ, "KERAS_BACKEND": backend},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # So that processes that it has started are killed with it.
            start_new_session=True,
        )

    def _student(self, folder, ending, weights):
        teacher = f"--teacher={self._folder / 'undisturbed' / 'teacher.keras'}"
        epochs = f"--epochs={self._epochs}"
        return (
            "train.py",
            epochs,
            *_STUDENT,
            teacher,
            "--accept_teacher",
            f"--run_dir={folder / 'student'}",
        )

    def _teacher(self, folder, ending, weights):
        source = f"--teacher={self._folder.parent / 'untrained.keras'}"
        output = f"--output={folder / 'teacher.keras'}"
        return "train_teacher.py", source, output, f"--epochs={self._epochs}", *_TEACHER

    def _export(self, folder, ending, weights):
        run = self._folder / "undisturbed" / "student"
        output = f"--output_dir={folder}", "--name=exported", f"--weights={weights}"
        return "export.py", f"--run_dir={run}", *output

    def _convert(self, folder, ending, weights):
        source = f"{self._folder / 'undisturbed' / 'student'}{'#ema' if weights == 'ema' else ''}"
        output = f"--output={folder / f'converted{ending}'}"
        return "convert.py", f"--weights={source}", output, "--overwrite"


class _Progress:
    """What the checkpoints of a training say about how far it is."""

    def __init__(self, subject: str, folder: pathlib.Path):
        name = "student/checkpoints" if subject == "student" else "teacher.checkpoints"
        self._folder = folder / name
        self._steps = _STEPS[subject]
        self._micro_batches = _MICRO_BATCHES[subject]

    def steps(self) -> int:
        """Returns the number of steps that the newest checkpoint has done; names sort by time."""
        name = max((path.name for path in self._folder.glob("epoch-*.safetensors")), default="")
        if not name:
            return 0
        _, epoch, _, step = name.removesuffix(".safetensors").split("-")
        return int(epoch) * self._steps + int(step) // self._micro_batches

    def is_writing(self) -> bool:
        return any(self._folder.glob("partial-*"))

    def is_at_epoch_end(self) -> bool:
        """Returns whether the newest checkpoint is the last one before the end of an epoch."""
        return self.steps() % self._steps == self._steps - 1


_MOMENTS: dict[str, Callable[[_Progress], bool]] = {
    "in a step": lambda progress: True,
    "in a checkpoint": _Progress.is_writing,
    "at an epoch's end": _Progress.is_at_epoch_end,
}


def _kill(process: subprocess.Popen) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _write_untrained_teacher(path: pathlib.Path) -> None:
    """Writes a small convnet with random layers; it is trained here."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.GaussianNoise(0.1),
            layers.Conv2D(16, 3, strides=2),
            layers.BatchNormalization(),
            layers.SpatialDropout2D(0.1),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(10),
        ]
    )
    contract = TeacherContract(pixel_format("0-255", 16, 16), "logits", 10)
    save_teacher_model(model, contract, path)


if __name__ == "__main__":
    main()
