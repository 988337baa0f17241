"""Which tensor of a file belongs to which variable of a model, with both sides accounted for."""

import dataclasses
import re
from collections.abc import Iterable, Iterator

import keras

from keras_deit.core.abstract import build_abstract
from keras_deit.core.errors import InputError
from keras_deit.layers.introspection import gate_variables
from keras_deit.layers.positions import Grid, PositionTable
from keras_deit.models import Classifier, registered_families
from keras_deit.models.constructor import constructor_values
from keras_deit.models.weight_names import Entry, count_classes, count_known, model_entries
from keras_deit.pretrained.differences import Differences
from keras_deit.pretrained.nests import Nest, find_nest
from keras_deit.pretrained.tensor_file import TensorFile

# After a path: a distilled file is loaded into a plain model.
WITHOUT_DISTILLATION = "without_distillation"

_MAX_WORDS = 8

# Words in the first part of the names of what trains a body without labels and is thrown away after
# that: decoders, mask tokens, heads of self-supervision, queues, losses.
_PRETRAINING = {
    *("decoder", "mask", "head", "heads", "pred", "predictor", "predictions", "projector"),
    *("projection", "prototypes", "queue", "center", "criterion", "loss", "classifier"),
}


def _is_of_pretraining(name: str) -> bool:
    first, *_, last = name.split(".") * 2
    return last == "mask_token" or bool(_PRETRAINING & set(first.split("_")))


@dataclasses.dataclass(frozen=True)
class Load:
    """A variable that takes its value from a file.

    Attributes:
        variable: variable of the model.
        entry: its tensors in the file.
        table: if it depends on the image size, its resize rule in a model like that of the file.
        grid: rows and columns of the patches that the file was made for, if they are others.
    """

    variable: keras.Variable
    entry: Entry
    table: PositionTable | None
    grid: Grid | None


@dataclasses.dataclass(frozen=True)
class Match:
    """How a file is loaded.

    Attributes:
        file: the tensors by the names of the entries.
        loads: the variables that take their value from the file.
        kept: the variables that keep theirs.
        notes: lines for the user: what was taken, what is kept and why, what is left out.
    """

    file: TensorFile
    loads: list[Load]
    kept: list[keras.Variable]
    notes: list[str]


def match(
    model: Classifier,
    file: TensorFile,
    part: str | None = None,
    without_distillation: bool = False,
) -> Match:
    """Pairs the tensors of a file with the variables of a model.

    Args:
        model: the model.
        file: the file.
        part: which of several weights in the file, see `find_nest`.
        without_distillation: whether a model without distillation token takes the rest of a file
            that has one.

    Raises:
        InputError: the file holds another architecture, something is left over on one side, or
            shapes differ for another reason than the number of classes or the image size.
    """
    pairings = (
        _Pairing(like_file, find_nest(like_file, file, part)) for like_file in _like_files(model)
    )
    first = next(pairings)
    found = (
        first if not first.differences else next((p for p in pairings if not p.differences), None)
    )
    if found is None:
        raise first.error(model, file)
    if found.is_distilled and not (without_distillation or _is_distilled(model)):
        error = first.error(model, file)
        raise InputError(
            f"{error}\nWith #{WITHOUT_DISTILLATION} after the path, it is loaded without its "
            "distillation token and head."
        )
    return found.match(model)


def count_file_classes(model: Classifier, file: TensorFile, part: str | None = None) -> int | None:
    """Returns the number of classes of a file; None if they are not found."""
    nest = find_nest(model, file, part)
    return count_classes(model, nest.file.shapes, nest.table)


def _is_distilled(model: Classifier) -> bool:
    return "distillation" in model.heads.output


def _like_files(model: Classifier) -> Iterator[Classifier]:
    """Yields the models that a file for this one may be of, this one or one like it first.

    The others have distillation token and head if it has none, and lack them if it has; and take
    color images. All have heads, of whatever number of classes.
    """
    own = {**constructor_values(type(model)), **model.get_config()}
    if own.get("num_classes") == 0:
        own["num_classes"] = 1000
        yield _abstract(model, own)
    else:
        yield model
    for channels in dict.fromkeys((own.get("in_channels"), 3)):
        for is_other in (False, True):
            values = dict(own)
            if channels is not None:
                values["in_channels"] = channels
            if is_other and "distilled" in own:
                values["distilled"] = not own["distilled"]
            if values != own:
                yield _abstract(model, values)


def _abstract(model: Classifier, values: dict) -> Classifier:
    return build_abstract(lambda: type(model).from_config(values))


class _Pairing:
    """The variables of a model beside the tensors of a file.

    Args:
        model: a model like that of the file, which may be abstract.
        nest: the tensors.

    Attributes:
        is_distilled: whether the model has a distillation token.
        names: names of all tensors of the model.
        differences: what does not fit.
    """

    def __init__(self, model: Classifier, nest: Nest):
        self._nest, file = nest, nest.file
        self.is_distilled = _is_distilled(model)
        classes = count_classes(model, file.shapes, nest.table)
        self._entries = model_entries(model, nest.table, classes)
        self._tables = {id(table.variable): table for table in model.position_tables()}
        _check_fixed_tables(model, self._entries, self._tables, file)
        self.names = [name for entry in self._entries for name in entry.names]
        by_variable = {id(entry.variable): entry for entry in self._entries}
        self._absent = {}
        for layer in model.head_layers.values():
            # The factors of LoRA are in no file.
            weights = [weight for weight in layer.weights if id(weight) in by_variable]
            entries = [by_variable[id(weight)] for weight in weights]
            if not any(name in file.shapes for entry in entries for name in entry.names):
                self._absent |= {id(entry.variable): entry for entry in entries}
        # Weights of a model without gates get gates of 1, with which it computes the same.
        gates = {id(gate) for gate in gate_variables(model)}
        self._gates = {
            id(entry.variable): entry
            for entry in self._entries
            if id(entry.variable) in gates and entry.names[0] not in file.shapes
        }
        wanted = {
            name: entry
            for entry in self._entries
            if id(entry.variable) not in self._absent | self._gates
            for name in entry.names
        }
        held = _held(model, file, wanted)
        self._left_out = [
            name
            for name in held
            if name not in wanted
            and (
                (self._has_new_head(model, by_variable) and _matches(model.head_weights, name))
                or (_is_of_pretraining(name) and not count_known(model.weight_tables, [name]))
            )
        ]
        without_head = any(_matches(model.head_weights, name) for name in self._left_out)
        held = {name: shape for name, shape in held.items() if name not in self._left_out}
        self.differences = Differences(
            held=held,
            wanted={name: entry.tensor_shape for name, entry in wanted.items()},
            misshapen=[
                name
                for name, entry in wanted.items()
                if name in held
                and not (without_head and entry.has_other_class_count)
                and not _fits(entry, self._tables.get(id(entry.variable)), held[name])
            ],
        )

    def _has_new_head(self, model: Classifier, entries: dict[int, Entry]) -> bool:
        weights = [weight for layer in model.head_layers.values() for weight in layer.weights]
        return any(
            id(weight) in self._absent or entries[id(weight)].has_other_class_count
            for weight in weights
            if id(weight) in entries
        )

    def match(self, model: Classifier) -> Match:
        """Returns how the tensors get into a model, which may have other tokens and heads."""
        entries = {entry.path: entry for entry in self._entries}
        loads, notes = [], [self._nest.note] if self._nest.note else []
        fresh, other_classes = [], []
        for variable in model.weights:
            entry = entries.get(variable.path)
            if entry is not None and id(entry.variable) in self._gates:
                continue
            if entry is None or id(entry.variable) in self._absent:
                fresh.append(variable)
            elif entry.has_other_class_count:
                other_classes.append(variable)
            else:
                loads.append(self._load(model, variable, entry))
        source = self._nest.file.source
        if other_classes:
            notes.append(
                f"{source} has another number of classes than the {model.num_classes} of this "
                f"model; not loaded: {_layers(other_classes)}."
            )
        if fresh:
            notes.append(self._note_fresh(model, fresh, loads))
        paths = {variable.path for variable in model.weights}
        dropped = [n for entry in self._entries if entry.path not in paths for n in entry.names]
        left_out = [*self._left_out, *dropped, *self._nest.siblings]
        if left_out:
            notes.append(
                f"{len(left_out)} tensors of {source} that {model.name} does not have are left "
                f"out: {_summary(left_out)}."
            )
        return Match(self._nest.file, loads, fresh + other_classes, notes)

    def error(self, model: Classifier, whole: TensorFile) -> InputError:
        """Returns why the tensors do not get into a model.

        Args:
            model: the model.
            whole: the file, of which the nest may be a part that only looks like the model.
        """
        file, differences = self._nest.file, self.differences
        kind = type(model)
        found = describe(file.shapes, kind) or describe(whole.shapes, kind)
        expected = describe(self.names, kind)
        shared = differences.held.keys() & differences.wanted.keys()
        if found is None and 2 * len(shared) < len(differences.held):
            names = ", ".join(sorted(file.shapes)[:3])
            return InputError(
                f"{file.source} holds no model of a known family; it has the tensors {names}, ..."
            )
        reason = None
        if found and expected and found != expected:
            if found[0] is not expected[0]:
                return InputError(
                    f"{file.source} holds a {found[1]}; {model.name} is a {expected[1]}."
                )
            reason = f"it holds a {found[1]}, the model is a {expected[1]}"
        if misfit := model.explain_misfit(differences.held, differences.wanted):
            misfit = f"{reason}; {misfit}" if reason else misfit
            return InputError(f"{file.source} does not fit {model.name}: {misfit}.")
        return differences.error(file.source, model.name, reason)

    def _note_fresh(self, model: Classifier, fresh: list, loads: list[Load]) -> str:
        rows = [load.variable for load in loads if _has_fresh_rows(load)]
        what = f"{_layers(fresh)}{f' and for a row of {_layers(rows)}' if rows else ''}"
        heads = {
            name: any(own is variable for own in layer.weights for variable in fresh)
            for name, layer in model.head_layers.items()
        }
        note = f"{self._nest.file.source} has no weights for {what}; fresh ones stay there."
        trained = [name for name, is_fresh in heads.items() if not is_fresh]
        if not trained or len(trained) == len(heads):
            return note
        return (
            f"{note} Until they are trained, predict with model.heads[{trained[0]!r}], not with "
            "the mean of the heads."
        )

    def _load(self, model: Classifier, variable: keras.Variable, entry: Entry) -> Load:
        table = self._tables.get(id(entry.variable))
        grid = table and table.grid and _other_grid(model, entry, table, self._nest.file)
        return Load(variable, entry, table, grid)


def _matches(patterns: Iterable[str], name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _has_fresh_rows(load: Load) -> bool:
    own = tuple(load.variable.shape)
    return len(own) == 3 and own[1] > load.entry.shape[1]


def _layers(variables: list[keras.Variable]) -> str:
    return ", ".join(dict.fromkeys(variable.path.split("/")[0] for variable in variables))


def _summary(names: list[str]) -> str:
    """Returns names by their first word, with how many there are of each."""
    groups = {}
    for name in names:
        groups.setdefault(re.split("[./]", name)[0], []).append(name)
    shown = [
        f"{word} ({len(group)})" if len(group) > 1 else group[0] for word, group in groups.items()
    ]
    more = [f"{len(shown) - _MAX_WORDS} others"] if len(shown) > _MAX_WORDS else []
    return ", ".join([*shown[:_MAX_WORDS], *more])


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


def _other_grid(
    model: Classifier, entry: Entry, table: PositionTable, file: TensorFile
) -> Grid | None:
    """Returns the grid that a table in the file is for; None if it is the model's."""
    name = entry.names[0]
    shape = entry.transform.own_shape(file.shapes[name])
    grid = _source_grid(table, shape, file.grids.get(name))
    if grid is None and shape != entry.shape:
        rows, columns = table.grid
        raise InputError(
            f"{file.source} does not say for which grid its {name} {file.shapes[name]} is, and "
            f"no square one has that shape; that of {model.name} is {rows}×{columns}, so it "
            "cannot be resized."
        )
    return None if grid == table.grid else grid


def _source_grid(table: PositionTable, shape: tuple, recorded: Grid | None) -> Grid | None:
    if recorded and table.shape(recorded) == shape:
        return recorded
    # Released weights are for square images; a table of the same length may be of another grid.
    return table.square_grid(shape)


def describe(names: Iterable[str], likely: type | None = None) -> tuple[type, str] | None:
    """Returns the family that tensors of these names belong to, and what they are in words.

    None if no registered family recognizes them.

    Args:
        names: the names.
        likely: the family that it is if the names are those of several.
    """
    names = list(names)
    found = [
        ((count_known(family.weight_tables, names), family is likely), family, description)
        for family in registered_families()
        if (description := family.describe_weights(names)) is not None
    ]
    return max(found, key=lambda candidate: candidate[0])[1:] if found else None
