"""What a teacher says about every view of a training, computed once and replayed in others.

A view depends only on the seed, the epoch, the image and the number of its copy, and a batch only
on the seed and its number (`data.train_pipeline`). So the teacher's answers belong to the rows of
the batches, in their order, whichever student is trained on them.
"""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from keras_deit.core.errors import InputError, corrupt_as_input_error, unknown_name
from keras_deit.core.files import absolute_path, atomic_write, read_json, user_path, write_json
from keras_deit.teachers.contract import TeacherContract

PREFIX = "replay:"
RECORD = "replay.json"
_FORMAT = 1
# A process computes the labels of so many views before it writes them.
_FILE_VIEWS = 2**16
# The files that threads which prefetch read from at the same time.
_OPEN_FILES = 8
# The logarithm of a smaller number is not finite in float32.
_SMALLEST = float(np.finfo("float32").tiny)

LabelKind = Literal["hard", "soft"]


def replay_name(name: str) -> str:
    """Returns the name `replay:DIR` with an absolute path, however it is written."""
    return f"{PREFIX}{absolute_path(name.removeprefix(PREFIX))}"


def is_replay(name: str) -> bool:
    """Returns whether a teacher's name is that of stored labels, `replay:DIR`."""
    return name.startswith(PREFIX)


@dataclasses.dataclass(frozen=True)
class LabelFormat:
    """How the labels of a teacher are stored.

    Attributes:
        num_classes: number of classes.
        kind: "hard" for the teacher's decision, two bytes a view below 65,537 classes; "soft" for
            its distribution.
        temperature: temperature of a soft label's softmax.
        top_k: number of classes whose probabilities are stored, as float16; all others get equal
            shares of the rest.
    """

    num_classes: int
    kind: LabelKind = "hard"
    temperature: float = 1.0
    top_k: int = 10

    def __post_init__(self):
        if self.kind not in get_args(LabelKind):
            raise unknown_name("kind of labels", self.kind, get_args(LabelKind))
        if self.top_k < 1:
            raise InputError(f"top_k should be 1 or more. Received: {self.top_k}")
        kept = 1 if self.kind == "hard" else min(self.top_k, self.num_classes)
        object.__setattr__(self, "top_k", kept)

    @property
    def text(self) -> str:
        """What tells these labels from others, in words."""
        if self.kind == "hard":
            return "hard"
        return f"soft (temperature {self.temperature:g}, top_k {self.top_k})"

    def encode(self, logits: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the labels for logits (views, classes), arrays by name as they are stored.

        Raises:
            InputError: a logit is not finite.
        """
        if not np.isfinite(logits).all():
            raise InputError("The teacher returns logits that are not finite.")
        dtype = np.uint16 if self.num_classes <= 2**16 else np.uint32
        if self.kind == "hard":
            return {"classes": np.argmax(logits, axis=-1).astype(dtype)}
        probabilities = _softmax(logits / self.temperature)
        classes = np.argsort(-probabilities, axis=-1, kind="stable")[:, : self.top_k]
        kept = np.take_along_axis(probabilities, classes, axis=-1).astype(np.float16)
        labels = {"classes": classes.astype(dtype), "probabilities": kept}
        replayed = _softmax(self.logits(labels) / self.temperature)
        # The total variation distance of each view.
        distance = np.abs(replayed - probabilities).sum(-1) / 2
        return {**labels, "distance": distance.astype(np.float16)}

    def logits(self, labels: dict[str, np.ndarray]) -> np.ndarray:
        """Returns logits, float32 (views, classes), that stand for stored labels.

        The largest is that of the teacher's decision. Those of hard labels are 1 for it and 0 for
        the others; the softmax of soft ones at their temperature is the distribution.
        """
        classes = labels["classes"].astype(np.int64)
        rows = np.arange(len(classes))
        if self.kind == "hard":
            logits = np.zeros((len(classes), self.num_classes), np.float32)
            logits[rows, classes] = 1
            return logits
        kept = labels["probabilities"].astype(np.float32)
        others = max(self.num_classes - self.top_k, 1)
        rest = np.maximum(1 - kept.sum(-1), 0) / others
        probabilities = np.repeat(rest[:, None], self.num_classes, axis=1)
        np.put_along_axis(probabilities, classes, kept, axis=-1)
        logits = self.temperature * np.log(np.maximum(probabilities, _SMALLEST))
        # Two that are equal as float16 may have been different.
        logits[rows, classes[:, 0]] = np.nextafter(logits.max(-1), np.float32(np.inf))
        return logits


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


class Replay:
    """The labels of a teacher for the first batches of a training, in a directory.

    `replay.json` says what they are of; each file of labels belongs to consecutive batches, so
    that several processes can write them.

    Args:
        path: the directory.

    Raises:
        InputError: it holds no labels, or its record is corrupt.

    Attributes:
        views: what the views and their order depend on, JSON values.
        teacher: what the configuration of a run says of its teacher.
        labels: how they are stored.
        batch_size: number of views in a batch.
        batches: number of batches that are to be labeled.
        batches_per_file: number of batches in each file but the last one.
    """

    def __init__(self, path: str | pathlib.Path):
        self.path = user_path(path).absolute()
        complaint = f"{self.path} holds no labels of a teacher"
        record = read_json(self.path / RECORD, complaint)
        if record.get("format", _FORMAT) != _FORMAT:
            raise InputError(f"{self.path} was written by another version of keras_deit.")
        with corrupt_as_input_error(f"{self.path} has a corrupt {RECORD}"):
            self.views, self.teacher = dict(record["views"]), dict(record["teacher"])
            self.labels = LabelFormat(**record["labels"])
            self.batch_size, self.batches = int(record["batch_size"]), int(record["batches"])
            self.batches_per_file = int(record["batches_per_file"])
            self.contract = TeacherContract.from_dict(self.teacher["teacher_contract"])

    @classmethod
    def named(cls, name: str) -> "Replay":
        """Returns the labels of a teacher's name, `replay:DIR`."""
        return cls(name.removeprefix(PREFIX))

    @classmethod
    def create(
        cls,
        path: pathlib.Path,
        views: dict,
        teacher: dict,
        labels: LabelFormat,
        batch_size: int,
        batches: int,
        batches_per_file: int | None = None,
    ) -> "Replay":
        """Writes the record of a directory and returns its labels.

        Those that are there already are of the same format and of fewer batches.
        """
        path.mkdir(parents=True, exist_ok=True)
        write_json(
            path / RECORD,
            {
                "format": _FORMAT,
                "views": views,
                "labels": dataclasses.asdict(labels),
                "batch_size": batch_size,
                "batches": batches,
                "batches_per_file": batches_per_file or max(1, _FILE_VIEWS // batch_size),
                "teacher": teacher,
            },
        )
        return cls(path)

    @property
    def class_order(self) -> list[int] | None:
        """Where the classes of the data are among the outputs of the teacher, see `Teacher`."""
        return self.teacher["teacher_class_order"]

    @property
    def files(self) -> list[range]:
        """The batches of each file."""
        size = self.batches_per_file
        starts = range(0, self.batches, size)
        return [range(start, min(start + size, self.batches)) for start in starts]

    def file(self, number: int) -> pathlib.Path:
        """Returns the path of a file by its number."""
        return self.path / f"labels-{number:06d}.npz"

    def is_labeled(self, number: int) -> bool:
        """Returns whether a file is there with the labels of all its batches."""
        path = self.file(number)
        if not path.is_file():
            return False
        classes = _read(path, path.stat().st_mtime_ns)["classes"]
        return len(classes) >= len(self.files[number]) * self.batch_size

    def labeled_batches(self) -> int:
        """Returns how many batches from the first one on have labels.

        Raises:
            InputError: a file is corrupt.
        """
        for number, batches in enumerate(self.files):
            if not self.is_labeled(number):
                return batches.start
        return self.batches

    def write(self, number: int, labels: Sequence[dict[str, np.ndarray]]) -> None:
        """Writes a file.

        Args:
            number: its number.
            labels: those of its batches, in their order, see `LabelFormat.encode`.
        """
        arrays = {name: np.concatenate([part[name] for part in labels]) for name in labels[0]}
        with atomic_write(self.file(number)) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)

    def targets(self, batch: int, rows: Sequence[int]) -> dict[str, np.ndarray]:
        """Returns what stands for the teacher's logits of some rows of a batch.

        Args:
            batch: number of the batch.
            rows: their places in it.

        Returns:
            {"teacher": float32 (rows, classes)}, see `LabelFormat.logits`.

        Raises:
            InputError: the batch has no labels.
        """
        number, place = divmod(batch, self.batches_per_file)
        path = self.file(number)
        if batch >= self.batches or not path.is_file():
            raise InputError(f"{self.path} has no labels for the batch {batch}.")
        stored = _read(path, path.stat().st_mtime_ns)
        places = place * self.batch_size + np.asarray(rows)
        labels = {name: values[places] for name, values in stored.items()}
        return {"teacher": self.labels.logits(labels)}

    def distance(self) -> tuple[float, float]:
        """Returns the mean and the largest total variation distance of stored soft labels from
        what the teacher said."""
        means, largest = [], 0.0
        for number in range(len(self.files)):
            path = self.file(number)
            values = _read(path, path.stat().st_mtime_ns)["distance"].astype(np.float64)
            means.append((values.sum(), len(values)))
            largest = max(largest, float(values.max()))
        return math.fsum(x for x, _ in means) / sum(count for _, count in means), largest


@functools.lru_cache(maxsize=_OPEN_FILES)
def _read(path: pathlib.Path, modified: int) -> dict[str, np.ndarray]:
    complaint = f"{path} is corrupt, and keras-deit label makes it again"
    with corrupt_as_input_error(complaint), np.load(path) as arrays:
        labels = {name: arrays[name] for name in arrays.files}
        return {"classes": labels.pop("classes"), **labels}
