"""The checkpoints of a training: when they are written, and which one it resumes from."""

import logging
import pathlib
import re
import textwrap
import time
from collections.abc import Callable

import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.training.checkpoints.file import read_checkpoint, write_checkpoint
from keras_deit.training.checkpoints.progress import Progress
from keras_deit.training.checkpoints.state import TrainingState

_logger = logging.getLogger(__name__)

_NAME = re.compile(r"epoch-\d{5}-step-\d{7}\.safetensors")
# The largest share of the time that checkpoints may take, whatever the interval.
_MAX_TIME_SHARE = 0.03


class CheckpointManager:
    """Writes checkpoints of a training, keeps the newest, and reads the newest readable one.

    Args:
        folder: for the checkpoints alone; it need not exist. None for no checkpoints.
        seconds: seconds from one checkpoint to the next. If that would be more than 3 % of the
            time, as for a large model on a slow disk, they are further apart; 0 writes one after
            every step.
        keep: how many of the newest are kept, at least 1.
        resume_metadata: what must be the same when the training resumes, by name, such as the
            fingerprint of a teacher: JSON values.
        upgrade: converts the metadata of an earlier version.
        writes: whether this process writes; of several that train together one does.
        print_fn: called with each line for the user.

    Attributes:
        latest: the checkpoint that was read or written last; None for none.
        written, seconds_spent: how many were written by this process, and how long that took.
    """

    def __init__(
        self,
        folder: pathlib.Path | None,
        seconds: float = 300.0,
        keep: int = 2,
        resume_metadata: dict | None = None,
        upgrade: Callable[[dict], dict] = lambda metadata: metadata,
        writes: bool = True,
        print_fn=print,
    ):
        if keep < 1:
            raise InputError(f"At least one checkpoint must be kept. Received: {keep}.")
        self.latest: pathlib.Path | None = None
        self.written = 0
        self.seconds_spent = 0.0
        self._folder = folder
        self._seconds = seconds
        self._keep = keep
        self._resume_metadata = resume_metadata or {}
        self._upgrade = upgrade
        self._writes = writes and folder is not None
        self._print = print_fn
        self._last_end = time.monotonic()
        self._last_cost = 0.0

    def load(self) -> tuple[Progress, dict[str, np.ndarray]] | None:
        """Returns the newest readable checkpoint: its progress and tensors; None for none.

        A corrupt checkpoint is skipped with a warning and renamed to corrupt-*.

        Raises:
            InputError: all are corrupt, or the newest is of a training with other metadata.
        """
        found = self._read_newest()
        if found is None:
            return None
        self.latest, tensors, metadata = found
        # "place" and "facts" are the names of earlier versions.
        stored = metadata.get("resume_metadata", metadata.get("facts", {}))
        _check_metadata(self.latest, self._upgrade(stored), self._resume_metadata)
        progress = Progress.from_json(metadata.get("progress") or metadata["place"])
        self._print(
            f"Resuming from {self.latest}: epoch {progress.epoch + 1}, step {progress.step}."
        )
        if self._writes:
            self._clean_up()
        return progress, tensors

    def due(self) -> bool:
        """Returns whether it is time for a checkpoint."""
        passed = time.monotonic() - self._last_end
        interval = self._seconds and max(self._seconds, self._last_cost / _MAX_TIME_SHARE)
        return self._writes and passed >= interval

    def save(self, state: TrainingState, progress: Progress) -> pathlib.Path | None:
        """Writes a checkpoint and removes the oldest; returns None if this process does not write.

        Raises:
            InputError: it cannot be written, or a weight is not finite; the others stay.
        """
        if not self._writes:
            return None
        start = time.monotonic()
        metadata = {"progress": progress.to_json(), "resume_metadata": self._resume_metadata}
        try:
            tensors = state.read()
        except InputError as error:
            where = f"epoch {progress.epoch + 1} after step {progress.step}"
            raise InputError(f"In {where} {error} The last checkpoint is {self.latest}.") from error
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"epoch-{progress.epoch:05}-step-{progress.step:07}.safetensors"
        self.latest = self._folder / name
        write_checkpoint(self.latest, tensors, metadata)
        for old in self._paths()[self._keep :]:
            old.unlink()
        self._last_end = time.monotonic()
        self._last_cost = self._last_end - start
        self.written += 1
        self.seconds_spent += self._last_cost
        return self.latest

    def save_first(self, state: TrainingState, progress: Progress) -> None:
        """Writes a checkpoint if there is none, because a full disk should be noticed at once."""
        if self.latest is None:
            self.save(state, progress)

    def _paths(self) -> list[pathlib.Path]:
        """Returns the checkpoints, the newest first."""
        if self._folder is None or not self._folder.is_dir():
            return []
        found = [path for path in self._folder.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(found, reverse=True)

    def _read_newest(self) -> tuple[pathlib.Path, dict[str, np.ndarray], dict] | None:
        paths = self._paths()
        for path in paths:
            try:
                return path, *read_checkpoint(path)
            except InputError as error:
                _logger.warning("%s Trying the one before.", error)
        if paths:
            raise InputError(
                f"None of the {len(paths)} checkpoints in {self._folder} can be read; "
                "remove that folder to start again."
            )
        return None

    def _clean_up(self) -> None:
        """Renames the corrupt checkpoints, and removes what a killed process was writing."""
        for path in self._paths():
            if path > self.latest:
                path.rename(path.with_name(f"corrupt-{path.name}"))
        # As earlier versions named what they were writing; `atomic_write` removes its own.
        for path in self._folder.glob("partial-*.safetensors"):
            path.unlink()


def _check_metadata(path: pathlib.Path, stored: dict, current: dict) -> None:
    for name in sorted({*stored, *current}):
        if stored.get(name) != current.get(name):
            raise InputError(
                f"The training cannot resume from {path}: its {name} was "
                f"{_shortened(stored.get(name))} and is {_shortened(current.get(name))} now."
            )


def _shortened(value) -> str:
    return textwrap.shorten(str(value), 80, placeholder=" ...")
