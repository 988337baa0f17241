"""Where in a file the weights of a model are: under which keys and prefixes of names."""

import dataclasses
import re
from collections import Counter

from keras_deit.core.errors import InputError
from keras_deit.models import Classifier
from keras_deit.models.weight_names import Table, model_entries
from keras_deit.pretrained.tensor_file import Renamed, TensorFile

# Words in the names of averages and of networks that follow another, which are taken only if the
# user asks: of the authors' checkpoints too, `model` is evaluated and not `model_ema`. `k` is the
# momentum encoder of MoCo.
_AVERAGED = {
    *("ema", "swa", "avg", "average", "averaged", "polyak", "shadow", "momentum"),
    *("teacher", "target", "k"),
}
# Of names such as model_ema, model-ema, modelEma and EMAModel.
_WORD = r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+"


@dataclasses.dataclass(frozen=True)
class Nest:
    """Weights of one model in a file.

    Attributes:
        table: the names that they have, without the prefix.
        file: the tensors by these names.
        siblings: names of the other tensors in the same state dict, without what they share with
            the prefix.
        note: which weights were taken, and which others there are; None if there is no choice.
    """

    table: Table
    file: TensorFile
    siblings: list[str]
    note: str | None = None


def find_nest(model: Classifier, file: TensorFile, part: str | None = None) -> Nest:
    """Returns the tensors of a file that have the names of a model's, behind a common prefix.

    The prefix is whatever most names of the model stand behind: keys of a checkpoint such as
    `state_dict`, wrappers such as `module.` and `backbone.`, in any mix. If the file has several
    such weights, those that are no average of others are taken, and the note says so.

    Args:
        model: the model.
        file: the file.
        part: word in the prefix that is wanted, such as "ema" or "teacher".

    Raises:
        InputError: nothing in the file is called so.
    """
    tables = [*model.weight_names().values(), {}]
    wanted = [_names(model, table) for table in tables]
    counts = [_count_prefixes(file, names) for names in wanted]
    if not any(counts):
        return Nest(tables[0], file, [])
    prefixes = [_largest(count, file, part) for count in counts]
    resolved = [
        _resolved(file, found[0], names) if found else {}
        for found, names in zip(prefixes, wanted, strict=True)
    ]
    best = max(range(len(tables)), key=lambda index: len(resolved[index]))
    if not resolved[best]:
        names = ", ".join(_labels(_largest(max(counts, key=_most), file, None)).values())
        raise InputError(f"{file.source} has no weights {part!r}; it has {names}.")
    return _nest(tables[best], file, prefixes[best], resolved[best], part)


def _nest(table, file, prefixes: list[str], resolved: dict[str, str], part) -> Nest:
    chosen, *others = prefixes
    groups = {file.groups.get(held, "") for held in resolved.values()}
    apart = tuple(other for other in others if len(other) > len(chosen))
    near = [
        name
        for name in file.shapes
        if file.groups.get(name, "") in groups and not (apart and name.startswith(apart))
    ]
    inside = {name[len(chosen) :]: name for name in near if name.startswith(chosen)}
    used = {*inside.values(), *resolved.values()}
    others = tuple(filter(None, others))
    beside = [name for name in near if name not in used and not name.startswith(others)]
    siblings = [name[_shared(name, chosen) :] for name in beside]
    note = _note(file.source, prefixes, part)
    return Nest(table, Renamed(file, {**inside, **resolved}), siblings, note)


def _shared(name: str, prefix: str) -> int:
    """Returns the length of the parts that a name and a prefix begin with."""
    return max(start for start in _starts(prefix) if name.startswith(prefix[:start]))


def _starts(name: str) -> list[int]:
    """Returns where the parts of a name start, 0 first; Flax separates them by slashes."""
    return [0, *(place + 1 for place, letter in enumerate(name) if letter in "./")]


def _names(model: Classifier, table: Table) -> set[str]:
    return {name for entry in model_entries(model, table) for name in entry.names}


def _count_prefixes(file: TensorFile, wanted: set[str]) -> Counter:
    """Returns how many names of the model the file has behind each prefix."""
    counts = Counter()
    for name in file.shapes:
        counts.update(name[:start] for start in _starts(name) if name[start:] in wanted)
    return counts


def _most(counts: Counter) -> int:
    return max(counts.values(), default=0)


def _largest(counts: Counter, file: TensorFile, part: str | None) -> list[str]:
    """Returns the prefixes that have most of the names, the one to take first."""
    several = [prefix for prefix, count in counts.items() if 2 * count > _most(counts)]
    order = {name: place for place, name in enumerate(file.shapes)}
    ranked = sorted(
        several,
        key=lambda prefix: (
            not _is_asked(prefix, part),
            _is_averaged(prefix),
            -counts[prefix],
            min(place for name, place in order.items() if name.startswith(prefix)),
        ),
    )
    if part and ranked and not _is_asked(ranked[0], part):
        return []
    exact = [prefix for prefix in ranked if part in map(str.lower, _parts(prefix))]
    return [*exact, *(prefix for prefix in ranked if prefix not in exact)]


def _is_asked(prefix: str, part: str | None) -> bool:
    if part is None:
        return True
    return part in prefix.lower() or (part == "ema" and _is_averaged(prefix))


def _parts(prefix: str) -> list[str]:
    return re.split("[./]", prefix.rstrip("./")) if prefix else []


def _is_averaged(prefix: str) -> bool:
    words = re.findall(_WORD, prefix)
    return bool(_AVERAGED & {word.lower() for word in words})


def _resolved(file: TensorFile, prefix: str, wanted: set[str]) -> dict[str, str]:
    """Returns the names in the file by those of the model.

    A tensor that is not behind the prefix is looked for behind its beginnings, because a head often
    stands beside the wrapped body: `backbone.norm.weight`, `head.weight`.
    """
    starts = [prefix[:start] for start in _starts(prefix)]
    held = file.shapes
    return {name: start + name for start in starts for name in wanted if start + name in held}


def _labels(prefixes: list[str]) -> dict[str, str]:
    """Returns what tells each prefix from the others."""
    common = set.intersection(*(set(_parts(prefix)) for prefix in prefixes))
    return {
        prefix: next((part for part in _parts(prefix) if part not in common), prefix.rstrip("./"))
        or "weights without a prefix"
        for prefix in prefixes
    }


def _note(source: str, prefixes: list[str], part: str | None) -> str | None:
    taken, *others = _labels(prefixes).values()
    if others:
        also = ", ".join(f"{other} (add #{other} to the path)" for other in others)
        return f"{source} holds several weights; taken: {taken}; also there: {also}."
    if part is None and _is_averaged(prefixes[0]):
        return f"{source} holds one set of weights, an average or a teacher; taken: {taken}."
    return None
