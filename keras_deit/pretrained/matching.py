"""Which tensor of a file belongs to which variable of a model, with both sides accounted for."""

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable

from keras_deit.core.errors import InputError
from keras_deit.layers.positions import Grid, PositionTable
from keras_deit.models import Classifier, registered_families
from keras_deit.models.weight_names import Entry, count_classes, count_known, model_entries
from keras_deit.pretrained.tensor_file import TensorFile

_MAX_LISTED = 100


@dataclasses.dataclass(frozen=True)
class Resize:
    """A variable that is resized from the grid of patches that the file was made for."""

    table: PositionTable
    source: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Match:
    """How a file is loaded.

    Attributes:
        loaded: the variables that take their value from the file.
        kept: the variables that keep theirs because the file has another number of classes.
        resized: by the id of the variable, those whose grid of patches is another one.
    """

    loaded: list[Entry]
    kept: list[Entry]
    resized: dict[int, Resize]


def match(model: Classifier, file: TensorFile) -> Match:
    """Pairs the tensors of a file with the variables of a model.

    Raises:
        InputError: the model is not one of this package, the file holds another architecture,
            something is left over on one side, or shapes differ for another reason than the number
            of classes or the image size.
    """
    if not isinstance(model, Classifier):
        raise InputError(
            "Weights can only be loaded into a keras_deit.Classifier. Received: "
            f"{type(model).__name__}"
        )
    entries = _best_entries(model, file)
    tables = {id(table.variable): table for table in model.position_tables()}
    _check_fixed_tables(model, entries, tables, file)
    wanted = {name: entry for entry in entries for name in entry.names}
    held = _held(model, file, wanted)
    differences = _Differences(
        held=held,
        wanted={name: entry.tensor_shape for name, entry in wanted.items()},
        misshapen=[
            name
            for name, entry in wanted.items()
            if name in held and not _fits(entry, tables.get(id(entry.variable)), held[name])
        ],
    )
    if differences:
        raise _explained(model, file, wanted, differences)
    return Match(
        loaded=[entry for entry in entries if not entry.has_other_class_count],
        kept=[entry for entry in entries if entry.has_other_class_count],
        resized=_resized(model, entries, tables, file),
    )


def _best_entries(model: Classifier, file: TensorFile) -> list[Entry]:
    """Returns the entries with the names that have most in common with the file."""
    candidates = [
        model_entries(model, table, count_classes(model, file.shapes, table))
        for table in (*model.weight_names().values(), {})
    ]
    return max(
        candidates,
        key=lambda entries: sum(name in file.shapes for entry in entries for name in entry.names),
    )


def _held(model: Classifier, file: TensorFile, wanted: Iterable[str]) -> dict[str, tuple]:
    """Returns the shapes in a file, without what the model's family ignores."""
    ignored = re.compile("|".join(model.ignored_weights))
    return {
        name: shape
        for name, shape in file.shapes.items()
        if name in wanted or not ignored.fullmatch(name)
    }


def _fits(entry: Entry, table: PositionTable | None, shape: tuple[int, ...]) -> bool:
    if table is None:
        return shape == entry.tensor_shape
    own = entry.transform.own_shape(shape)
    return own is not None and table.fits(own)


def _check_fixed_tables(model, entries, tables, file) -> None:
    """Checks the variables that one image size fixes."""
    for entry in entries:
        table = tables.get(id(entry.variable))
        shape = file.shapes.get(entry.names[0], entry.tensor_shape)
        if table is None or table.grid or len(shape) != len(entry.tensor_shape):
            continue
        if shape != entry.tensor_shape:
            raise InputError(
                f"{file.source} is for another image size: its {entry.names[0]} has the shape "
                f"{shape}, that of {model.name} is {entry.tensor_shape}, and "
                f"{type(model).__name__} cannot be resized."
            )


def _resized(model, entries, tables, file) -> dict[int, Resize]:
    resized = {}
    for entry in entries:
        table = tables.get(id(entry.variable))
        if table is None or table.grid is None:
            continue
        name = entry.names[0]
        shape = entry.transform.own_shape(file.shapes[name])
        grid = _source_grid(table, shape, file.grids.get(name))
        if grid is None and shape != tuple(entry.variable.shape):
            rows, columns = table.grid
            raise InputError(
                f"{file.source} does not say for which grid its {name} {file.shapes[name]} is, and "
                f"no square one has that shape; that of {model.name} is {rows}×{columns}, so it "
                "cannot be resized."
            )
        if grid is not None and grid != table.grid:
            resized[id(entry.variable)] = Resize(table, grid)
    return resized


def _source_grid(table: PositionTable, shape: tuple, recorded: Grid | None) -> Grid | None:
    if recorded and table.shape(recorded) == shape:
        return recorded
    # Released weights are for square images; a table of the same length may be of another grid.
    return table.square_grid(shape)


def describe(names: Iterable[str]) -> tuple[type, str] | None:
    """Returns the family that tensors of these names belong to, and what they are in words.

    None if no registered family recognizes them.
    """
    names = list(names)
    found = [
        (count_known(family.weight_tables, names), family, description)
        for family in registered_families()
        if (description := family.describe_weights(names)) is not None
    ]
    return max(found, key=lambda candidate: candidate[0])[1:] if found else None


def _explained(model, file, wanted, differences: "_Differences") -> InputError:
    found, expected = describe(file.shapes), describe(wanted)
    if found is None and not differences.held.keys() & differences.wanted.keys():
        names = ", ".join(sorted(file.shapes)[:3])
        return InputError(
            f"{file.source} holds no model of a known family; it has the tensors {names}, ..."
        )
    reason = None
    if found and expected and found != expected:
        if found[0] is not expected[0]:
            return InputError(f"{file.source} holds a {found[1]}; {model.name} is a {expected[1]}.")
        reason = f"it holds a {found[1]}, the model is a {expected[1]}"
    return differences.error(file.source, model.name, reason)


@dataclasses.dataclass(frozen=True)
class _Differences:
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
