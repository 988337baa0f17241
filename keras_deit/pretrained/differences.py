"""In what the tensors of a file and the weights of a model differ, for the error."""

import dataclasses
import difflib
from collections.abc import Callable

from keras_deit.core.errors import InputError

_MAX_LISTED = 100


@dataclasses.dataclass(frozen=True)
class Differences:
    """Tensors by their name in the file.

    Attributes:
        held: shapes of what the file has.
        wanted: shapes of what the model has.
        misshapen: names that both have, with shapes that do not fit.
    """

    held: dict[str, tuple[int, ...]]
    wanted: dict[str, tuple[int, ...]]
    misshapen: list[str]

    def __bool__(self) -> bool:
        return bool(self.held.keys() ^ self.wanted.keys() or self.misshapen)

    def error(self, source: str, model: str, reason: str | None = None) -> InputError:
        """Returns an error: one line with the counts or the reason, then the names."""
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
    more = [f"  and {len(names) - _MAX_LISTED} more"] if len(names) > _MAX_LISTED else []
    return [f"{title}:", *(f"  {row(name)}" for name in names[:_MAX_LISTED]), *more]


def _nearest(name: str, unmatched: list[str], shapes: dict) -> str:
    """Returns the closest name on the other side, preferably one that is unmatched there too."""
    close = difflib.get_close_matches(name, unmatched, 1) or difflib.get_close_matches(
        name, shapes, 1
    )
    return f"; nearest on the other side: {close[0]} {shapes[close[0]]}" if close else ""
