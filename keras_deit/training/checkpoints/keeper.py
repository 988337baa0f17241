"""When a training is written to a checkpoint."""

import pathlib
import textwrap
import time

import numpy as np

from keras_deit.errors import InputError
from keras_deit.training.checkpoints.place import Place
from keras_deit.training.checkpoints.state import TrainingState
from keras_deit.training.checkpoints.store import CheckpointStore

# The largest share of the time that goes into checkpoints, whatever the interval.
_LARGEST_SHARE = 0.03


class Keeper:
    """Reads the newest checkpoint of a training, and writes new ones when it is time.

    Args:
        store: of the checkpoints; None to keep none.
        seconds: from one checkpoint to the next. Where that would be more than 3 % of the time,
            as for a large model on a slow disk, they are further apart; 0 writes one after every
            step all the same.
        facts: what must be the same for the training to go on, by name, such as a teacher's
            fingerprint: JSON values.
        writes: whether this process writes; of several that train together one does.
        say: called with each line for the user.

    Attributes:
        source: the checkpoint that was read or written last; None for none.
        written, seconds_spent: how many were written here, and how long that took.
    """

    def __init__(
        self,
        store: CheckpointStore | None,
        seconds: float = 300.0,
        facts: dict | None = None,
        writes: bool = True,
        say=print,
    ):
        self.source: pathlib.Path | None = None
        self.written = 0
        self.seconds_spent = 0.0
        self._store = store
        self._seconds = seconds
        self._facts = facts or {}
        self._writes = writes and store is not None
        self._say = say
        self._tensors: dict[str, np.ndarray] | None = None
        self._last_end = time.monotonic()
        self._last_cost = 0.0

    def read(self) -> Place | None:
        """Where the newest readable checkpoint stands; None where there is no checkpoint.

        Raises:
            InputError: all are broken, or it is of a training with other facts.
        """
        found = self._store.read_newest() if self._store else None
        if found is None:
            return None
        self.source, self._tensors, record = found
        _check_facts(self.source, record["facts"], self._facts)
        place = Place.from_record(record["place"])
        self._say(f"Going on from {self.source}: epoch {place.epoch + 1}, step {place.step}.")
        if self._writes:
            self._store.tidy(self.source)
        return place

    def take_tensors(self) -> dict[str, np.ndarray] | None:
        """The tensors of the checkpoint that was read; they are let go of here."""
        tensors, self._tensors = self._tensors, None
        return tensors

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        passed = time.monotonic() - self._last_end
        wanted = self._seconds and max(self._seconds, self._last_cost / _LARGEST_SHARE)
        return self._writes and passed >= wanted

    def write_first(self, state: TrainingState, place: Place) -> None:
        """Writes where no checkpoint is yet: a disk that is full is better known at once."""
        if self.source is None:
            self.write(state, place)

    def write(self, state: TrainingState, place: Place) -> pathlib.Path | None:
        """Writes a checkpoint; its path, or None where this process writes none.

        Raises:
            InputError: it cannot be written, or a weight is not finite.
        """
        if not self._writes:
            return None
        start = time.monotonic()
        record = {"place": place.to_record(), "facts": self._facts}
        try:
            tensors = state.read()
        except InputError as error:
            where = f"epoch {place.epoch + 1} after step {place.step}"
            raise InputError(f"In {where} {error} The last checkpoint is {self.source}.") from error
        self.source = self._store.write(place.epoch, place.step, tensors, record)
        self._last_end = time.monotonic()
        self._last_cost = self._last_end - start
        self.written += 1
        self.seconds_spent += self._last_cost
        return self.source


def _check_facts(path: pathlib.Path, there: dict, here: dict) -> None:
    for name in sorted({*there, *here}):
        if there.get(name) != here.get(name):
            raise InputError(
                f"{path} cannot be gone on from: its {name} was {_short(there.get(name))} and is "
                f"{_short(here.get(name))} now."
            )


def _short(value) -> str:
    return textwrap.shorten(str(value), 80, placeholder=" ...")
