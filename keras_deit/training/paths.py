"""The paths that a run depends on: absolute, so that a run is the same however they are written.

Runs of earlier versions have stored them as they were written.
"""

import dataclasses
import itertools
import os
import re
from collections.abc import Iterator

from keras_deit.pretrained.sources import absolute_source
from keras_deit.recipes import Recipe
from keras_deit.teachers import absolute_teacher, absolute_teacher_weights

_KEYS = ("weights", "teacher", "teacher_weights")
# What stands before a path and after it.
_SOURCE = re.compile(r"(?P<prefix>savedmodel:|onnx:|replay:)?(?P<path>/[^#]*)(?P<part>#.*)?")


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """Returns a recipe with absolute paths of its weights and of the teacher of its objective."""
    values = recipe.objective.values
    changes = {k: v for k, v in _absolute_teacher(values).items() if v != values[k]}
    if changes:
        recipe = dataclasses.replace(recipe, objective=recipe.objective.copy(**changes))
    if recipe.weights is None:
        return recipe
    return dataclasses.replace(recipe, weights=absolute_source(recipe.weights))


def with_absolute_names(identity: dict) -> dict:
    """Returns the stored identity of a run with the paths as `with_absolute_paths` writes them."""
    if isinstance(identity.get("weights"), str):
        identity = {**identity, "weights": absolute_source(identity["weights"])}
    objective = identity.get("objective")
    if not objective:
        return identity
    return {**identity, "objective": {**objective, **_absolute_teacher(objective)}}


def _absolute_teacher(values: dict) -> dict:
    """Returns the values of an objective that name a teacher, with absolute paths."""
    teacher, weights = values.get("teacher"), values.get("teacher_weights")
    found = {}
    if isinstance(teacher, str):
        found["teacher"] = absolute_teacher(teacher)
        if isinstance(weights, str):
            found["teacher_weights"] = absolute_teacher_weights(teacher, weights)
    return found


def spelled_identities(identity: dict) -> Iterator[dict]:
    """Yields an identity with its absolute paths written in the other ways that a user may have."""
    places = list(_places(identity))
    for texts in itertools.product(*(spellings(text) for _, text in places)):
        other = identity
        for (keys, text), spelled in zip(places, texts, strict=True):
            other = other if spelled == text else _replaced(other, keys, spelled)
        if other is not identity:
            yield other


def spellings(text: str) -> list[str]:
    """Returns the ways to write the path in a source of weights or a teacher, this one first."""
    found = _SOURCE.fullmatch(text)
    if found is None:
        return [text]
    path, home = found["path"], os.path.expanduser("~")
    relative = os.path.relpath(path)
    ways = [path, relative, f"./{relative}"]
    if path.startswith(f"{home}/"):
        ways.append(f"~{path.removeprefix(home)}")
    if os.path.isdir(path):
        ways += [f"{way}/" for way in ways]
    return [f"{found['prefix'] or ''}{way}{found['part'] or ''}" for way in ways]


def _places(values: dict, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _places(value, (*keys, key))
        elif key in _KEYS and isinstance(value, str) and _SOURCE.fullmatch(value):
            yield (*keys, key), value


def _replaced(values: dict, keys: tuple[str, ...], value: str) -> dict:
    first, *rest = keys
    return {**values, first: _replaced(values[first], tuple(rest), value) if rest else value}
