"""What a file and a model do not have in common, told to people."""

import dataclasses
import difflib
from collections.abc import Callable

from keras_deit.errors import InputError

_SHOWN = 100


@dataclasses.dataclass(frozen=True)
class Differences:
    """Tensors by their name in the file.

    Attributes:
        held: shapes of what the file has.
        wanted: shapes of what the model has.
        misshapen: names of what is on both sides and does not fit.
    """

    held: dict[str, tuple[int, ...]]
    wanted: dict[str, tuple[int, ...]]
    misshapen: list[str]

    def __bool__(self) -> bool:
        return bool(self.held.keys() ^ self.wanted.keys() or self.misshapen)

    def error(self, source: str, model: str, reason: str | None = None) -> InputError:
        """One line that sums up, or gives the reason, then what is left on either side."""
        missing = [name for name in self.wanted if name not in self.held]
        left = [name for name in self.held if name not in self.wanted]
        counts = (
            f"{len(missing)} tensors missing, {len(left)} left over, "
            f"{len(self.misshapen)} of another shape"
        )
        lines = [f"{source} does not fit {model}: {reason or counts}."]
        lines += _listed(
            "missing from the file",
            missing,
            lambda name: f"{name} {self.wanted[name]}{_nearest(name, left, self.held)}",
        )
        lines += _listed(
            "left over in the file",
            left,
            lambda name: f"{name} {self.held[name]}{_nearest(name, missing, self.wanted)}",
        )
        lines += _listed(
            "of another shape",
            self.misshapen,
            lambda name: f"{name} {self.held[name]}, the model's is {self.wanted[name]}",
        )
        return InputError("\n".join(lines))


def _listed(title: str, names: list[str], row: Callable[[str], str]) -> list[str]:
    if not names:
        return []
    more = [f"  and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return [f"{title}:", *(f"  {row(name)}" for name in names[:_SHOWN]), *more]


def _nearest(name: str, unmatched: list[str], shapes: dict) -> str:
    """What may have been meant on the other side: at best something that is left there, too."""
    close = difflib.get_close_matches(name, unmatched, 1) or difflib.get_close_matches(
        name, shapes, 1
    )
    return f"; nearest on the other side: {close[0]} {shapes[close[0]]}" if close else ""
