"""How far a training has come."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Progress:
    """A point between two steps of a training, and what was logged until then.

    Attributes:
        epoch: counted from 0; the number of epochs at the end.
        step: steps of this epoch that are done; with accumulated gradients, micro-batches.
        logs: figures of this epoch, if all its steps are done and its validation is not.
        history: what was logged, by epoch.
        best: the epoch with the best validation figure so far and that figure; empty for none.
        bad_images: the names of the unreadable images so far.
        micro_batches: number of micro-batches in a step of the optimizer.
        epochs: number of epochs of a training with a time limit, which changes with its speed.
        seconds_left: of the time limit.
        minutes: of the whole training, which an extension makes more.
    """

    epoch: int = 0
    step: int = 0
    logs: dict | None = None
    history: tuple[dict, ...] = ()
    best: dict = dataclasses.field(default_factory=dict)
    bad_images: tuple[str, ...] = ()
    micro_batches: int = 1
    epochs: int | None = None
    seconds_left: float | None = None
    minutes: float | None = None

    def to_json(self) -> dict:
        """Returns JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict) -> "Progress":
        """Returns the progress of `to_json`, also of an earlier version."""
        values = {**values, **{name: tuple(values[name]) for name in ("history", "bad_images")}}
        values.setdefault("micro_batches", values.pop("parts", 1))
        return cls(**values)

    def with_micro_batches(self, count: int) -> "Progress":
        """Returns the same point, which must be between two steps of the optimizer, if a step has
        this many micro-batches."""
        step = self.step // self.micro_batches * count
        return dataclasses.replace(self, step=step, micro_batches=count)
