"""Where in a training a checkpoint stands."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Place:
    """A moment between two steps, and what was logged until then.

    Attributes:
        epoch: counted from 0; the number of epochs where all are over.
        step: steps of this epoch that are done; of accumulated gradients each part is one.
        logs: of this epoch's training where all its steps are done and its validation is not.
        history: what was logged, by epoch.
        best: the epoch of the best validation accuracy so far and that accuracy; empty for none.
        bad_images: the names of the unreadable images so far.
        parts: that a step of the optimiser is made in.
    """

    epoch: int = 0
    step: int = 0
    logs: dict | None = None
    history: tuple[dict, ...] = ()
    best: dict = dataclasses.field(default_factory=dict)
    bad_images: tuple[str, ...] = ()
    parts: int = 1

    def to_record(self) -> dict:
        """JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_record(cls, record: dict) -> "Place":
        """The place that `to_record` was called on."""
        tuples = {name: tuple(record[name]) for name in ("history", "bad_images")}
        return cls(**{**record, **tuples})

    def in_parts(self, parts: int) -> "Place":
        """The same place, between two steps of the optimiser, where those have so many parts."""
        step = self.step // self.parts * parts
        return dataclasses.replace(self, step=step, parts=parts)
