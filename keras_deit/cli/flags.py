"""absl flags made from options, and their help."""

import textwrap

from absl import flags

from keras_deit.core.errors import InputError
from keras_deit.recipes import Option

_WIDTH = 90


class _Bounds(flags.ArgumentParser):
    """Two numbers with a comma between them."""

    syntactic_help = "LOW,HIGH"

    def parse(self, argument):
        try:
            low, high = (float(number) for number in argument.split(","))
        except ValueError:
            raise ValueError("two numbers with a comma between them are needed") from None
        return low, high


class _Numbers(flags.ArgumentParser):
    """Numbers with commas between them."""

    syntactic_help = "NUMBER,NUMBER,..."

    def parse(self, argument):
        try:
            return tuple(_number(text) for text in argument.split(","))
        except ValueError:
            raise ValueError("numbers with commas between them are needed") from None


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


class _Sides(flags.ArgumentParser):
    """A side in pixels, or height and width with an x between them."""

    syntactic_help = "SIDE or HEIGHTxWIDTH"

    def parse(self, argument):
        try:
            sides = tuple(int(side) for side in argument.lower().split("x"))
        except ValueError:
            sides = ()
        if len(sides) not in (1, 2):
            raise ValueError("a side in pixels is needed, or HEIGHTxWIDTH")
        return sides if len(sides) == 2 else sides[0]


class _Counts(flags.ArgumentParser):
    """A whole number, or several with commas between them."""

    syntactic_help = "INTEGER or INTEGER,INTEGER,..."

    def parse(self, argument):
        try:
            counts = tuple(int(count) for count in argument.split(","))
        except ValueError:
            raise ValueError("whole numbers with commas between them are needed") from None
        return counts if len(counts) > 1 else counts[0]


_PARSERS = {
    int: (flags.IntegerParser, "INTEGER"),
    float: (flags.FloatParser, "NUMBER"),
    str: (flags.ArgumentParser, "TEXT"),
    "bounds": (_Bounds, _Bounds.syntactic_help),
    "numbers": (_Numbers, _Numbers.syntactic_help),
    "sides": (_Sides, _Sides.syntactic_help),
    "counts": (_Counts, _Counts.syntactic_help),
    "texts": (flags.ArgumentParser, "TEXT ..."),
}


def parse_flags(
    options: list[Option],
    arguments: list[str],
    positional_name: str | None = None,
    needs_positional: bool = True,
) -> dict:
    """Returns the values of the flags that are given, by the name of the option.

    Args:
        options: a flag each, and another one for the old name.
        arguments: arguments of the command line.
        positional_name: name of the arguments that are no flags; None if there are no such
            arguments.
        needs_positional: whether there must be some.

    Raises:
        InputError: there is no such flag, a value is not possible, or a required one is missing.
    """
    values = flags.FlagValues()
    arguments = _one_value_per_flag(options, arguments)
    for option in options:
        for name in filter(None, (option.name, option.old_name)):
            _define(option, name, values)
    try:
        positional = values(["keras-deit", *arguments])[1:]
    except flags.Error as error:
        raise InputError(" ".join(str(error).split())) from error
    if positional and positional_name is None:
        raise InputError(f"Unknown argument {positional[0]!r}; flags start with --.")
    given = {name: values[name].value for name in values if values[name].present}
    if positional_name is not None:
        if not positional and needs_positional:
            raise InputError(f"Give {positional_name}.")
        given[positional_name] = positional
    for option in options:
        if option.required and option.name not in given:
            raise InputError(f"--{option.name} is required: {option.help}")
    return given


def _one_value_per_flag(options: list[Option], arguments: list[str]) -> list[str]:
    """Returns the arguments with the flag repeated before each further value of `texts`."""
    names = {f"{dashes}{o.name}" for o in options if o.kind == "texts" for dashes in ("-", "--")}
    repeated, current = [], None
    for index, argument in enumerate(arguments):
        if not argument.startswith("-"):
            repeated.append(argument if current is None else f"{current}={argument}")
            continue
        current = argument.partition("=")[0]
        if current not in names:
            current = None
        elif "=" not in argument:
            # It is written before each of the values that follow.
            if all(following.startswith("-") for following in arguments[index + 1 : index + 2]):
                raise InputError(f"{argument} needs a value.")
            continue
        repeated.append(argument)
    return repeated


def options_help(options: list[Option]) -> str:
    """Returns the flags with their values, defaults and help."""
    return "\n".join(line for option in options for line in _help_lines(option))


def _define(option: Option, name: str, values: flags.FlagValues) -> None:
    if option.kind is bool:
        flags.DEFINE_bool(name, None, option.help, flag_values=values)
    elif option.kind == "texts":
        flags.DEFINE_multi_string(name, None, option.help, flag_values=values)
    elif option.choices is not None:
        flags.DEFINE_enum(name, None, option.choices, option.help, flag_values=values)
    else:
        parser = _PARSERS[option.kind][0]()
        if option.minimum is not None:
            parser = _PARSERS[option.kind][0](lower_bound=option.minimum)
        flags.DEFINE(parser, name, None, option.help, flag_values=values)


def _help_lines(option: Option) -> list[str]:
    if option.kind is bool:
        flag = f"--[no]{option.name}"
    else:
        value = "|".join(option.choices) if option.choices else _PARSERS[option.kind][1]
        flag = f"--{option.name} {value}"
    text = option.help[0].upper() + option.help[1:]
    if option.default not in (None, "", False):
        text += f" Default: {option.default}."
    return [
        f"  {flag}",
        *textwrap.wrap(text, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6),
    ]
