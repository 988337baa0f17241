"""Options: values that a user can set, their kinds, and checking what is given for them."""

import dataclasses
import inspect
import numbers
import os
import re
import types
import typing

import numpy as np

from keras_deit.core.errors import InputError, unknown_name

# The type of the items and their number, of the kinds of several.
_ITEMS = {
    "bounds": (float, 2),
    "sides": (int, 2),
    "numbers": (float, None),
    "counts": (int, None),
}
# The kinds of which a single item is possible, too.
_ONE_OR_MORE = ("sides", "counts")

_ABSTRACT_KINDS = {
    bool: (bool, np.bool_),
    int: numbers.Integral,
    float: numbers.Real,
    str: (str, os.PathLike),
}


@dataclasses.dataclass(frozen=True)
class Option:
    """A value that a user can set.

    Attributes:
        name: name of the value; a flag has the same.
        kind: bool, int, float or str; "bounds" for two numbers; "numbers" for any number of them;
            "sides" for a side in pixels or (height, width); "counts" for a whole number or several;
            "texts" for one text or more.
        help: what it is.
        choices: all values that are possible; None for any.
        default: what it is if it is not given; None for the recipe's value.
        old_name: that it had in earlier versions and still has.
        required: whether a command needs it.
        minimum: the smallest value that is possible; None for any.
    """

    name: str
    kind: type | str
    help: str
    choices: tuple[str, ...] | None = None
    default: object = None
    old_name: str | None = None
    required: bool = False
    minimum: int | None = None


def unique_options(options: list[Option]) -> list[Option]:
    """Checks that no two options have the same name.

    Raises:
        InputError: two have.
    """
    names = [option.name for option in options]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"Two parts of a training have a value named {', '.join(twice)}; rename the one of "
            "your model or objective."
        )
    return options


def field_options(
    cls: type, names: tuple[str, ...] | None = None, prefix: str = "", with_defaults: bool = False
) -> list[Option]:
    """Returns an option for each field of a dataclass, with the help of its docstring.

    Args:
        cls: a dataclass whose docstring lists its attributes.
        names: names of the fields; None for all that a flag can hold.
        prefix: prefix of the options' names, such as "teacher_".
        with_defaults: whether the options have the defaults of the fields.
    """
    hints, fields = typing.get_type_hints(cls), cls.__dataclass_fields__
    owner = f"Of the {prefix.removesuffix('_')}: " if prefix else ""
    return [
        Option(
            prefix + name,
            kind_of_hint(hints[name]),
            owner + help_of(cls, name),
            choices_of_hint(hints[name]),
            fields[name].default if with_defaults else None,
        )
        for name in names or fields
        if kind_of_hint(hints[name]) is not None
    ]


def checked_values(given: dict, options: list[Option]) -> dict:
    """Returns values that are given in Python as a command would read them.

    A value has then the same type, and a run the same identity, wherever it is given.

    Args:
        given: by the name of the option; None means the default.
        options: all that are possible.

    Raises:
        InputError: there is no such option, or a value is of another type or not among the
            choices; close names are listed.
    """
    known = {option.name: option for option in options}
    values = {}
    for name, value in given.items():
        if name not in known:
            raise unknown_name("option", name, known)
        if value is not None:
            values[name] = _converted(known[name], value)
            choices = known[name].choices
            if choices is not None and values[name] not in choices:
                raise unknown_name(name, value, choices)
    return values


def _converted(option: Option, value):
    if option.kind in _ITEMS and isinstance(value, (tuple, list)):
        item, count = _ITEMS[option.kind]
        if count in (None, len(value)) and all(_is_a(item, x) for x in value):
            return tuple(float(x) if option.kind == "bounds" else x for x in value)
    kind = int if option.kind in _ONE_OR_MORE else option.kind
    if kind not in _ITEMS and _is_a(kind, value):
        value = kind(value)
        if option.minimum is None or value >= option.minimum:
            return value
    least = "" if option.minimum is None else f", {option.minimum} or more"
    named = getattr(option.kind, "__name__", option.kind)
    raise InputError(f"{option.name} should be of the type {named}{least}. Received: {value!r}")


def _is_a(kind: type, value) -> bool:
    is_bool = isinstance(value, _ABSTRACT_KINDS[bool])
    return isinstance(value, _ABSTRACT_KINDS[kind]) and is_bool == (kind is bool)


def kind_of_hint(hint) -> type | str | None:
    """Returns the kind of an option from a type hint; None if no flag can hold such a value."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return str
    if origin is tuple:
        return "bounds" if len(inner) == 2 and Ellipsis not in inner else "numbers"
    if origin in (typing.Union, types.UnionType):
        kinds = [kind_of_hint(argument) for argument in inner if argument is not types.NoneType]
        return kinds[0] if len(kinds) == 1 else None
    return hint if hint in (bool, int, float, str) else None


def choices_of_hint(hint) -> tuple[str, ...] | None:
    """Returns all values that a type hint allows; None if it does not list them."""
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return inner
    return next(filter(None, map(choices_of_hint, inner)), None)


def kind_of_default(value, of_none: type) -> type | str | None:
    """Returns the kind of an option from a default; None if no flag can hold such a value.

    Args:
        value: the default.
        of_none: the kind if the default is None, which says nothing of the type.
    """
    if value is None:
        return of_none
    if isinstance(value, (tuple, list)):
        return "numbers" if all(_is_a(float, item) for item in value) else None
    return type(value) if type(value) in (bool, int, float, str) else None


def help_of(cls: type, name: str) -> str:
    """Returns what the docstring of a class says about an argument or attribute, on one line."""
    for names, text in re.findall(
        r"^    ([\w, ]+): (.+(?:\n {8}.+)*)", inspect.getdoc(cls) or "", flags=re.MULTILINE
    ):
        if name in re.split(r", ", names):
            return " ".join(text.split())
    return f"Value of {cls.__name__}."
