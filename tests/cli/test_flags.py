"""Flags are made of options, with values and a help, and reject other input."""

import pytest

from keras_deit.cli.flags import options_help, parse_flags
from keras_deit.core.errors import InputError
from keras_deit.recipes import Option

OPTIONS = [
    Option("epochs", int, "number of epochs.", minimum=1, default=3),
    Option("rate", float, "Learning rate."),
    Option("name", str, "Name.", old_name="title"),
    Option("kind", str, "Kind.", ("hard", "soft")),
    Option("fast", bool, "Whether it is fast."),
    Option("scale", "bounds", "Range."),
    Option("size", "sides", "Size."),
    Option("depths", "numbers", "Depths."),
    Option("blocks", "counts", "Blocks."),
    Option("runs", "texts", "Runs."),
]


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ([], {}),
        (["--epochs=5", "--rate", "1e-3"], {"epochs": 5, "rate": 1e-3}),
        (["--name=a b"], {"name": "a b"}),
        (["--title=a"], {"title": "a"}),
        (["--kind=soft"], {"kind": "soft"}),
        (["--fast"], {"fast": True}),
        (["--nofast"], {"fast": False}),
        (["--fast=false"], {"fast": False}),
        (["--scale=0.1,1"], {"scale": (0.1, 1.0)}),
        (["--size=32"], {"size": 32}),
        (["--size=32x64"], {"size": (32, 64)}),
        (["--depths=2,6,2"], {"depths": (2, 6, 2)}),
        (["--depths=2,0.5"], {"depths": (2, 0.5)}),
        (["--blocks=2"], {"blocks": 2}),
        (["--blocks=2,6,4"], {"blocks": (2, 6, 4)}),
        (["--runs=a"], {"runs": ["a"]}),
        (["--runs", "a", "b c", "--fast"], {"fast": True, "runs": ["a", "b c"]}),
        (["--runs", "a", "--name", "n", "--runs=b", "c"], {"name": "n", "runs": ["a", "b", "c"]}),
    ],
)
def test_values_of_given_flags(arguments, values):
    found = parse_flags(OPTIONS, arguments)
    assert found == values
    assert [type(value) for value in found.values()] == [type(v) for v in values.values()]


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--epoch=5", "epoch.*epochs"),
        ("--epochs=three", "epochs.*three"),
        ("--epochs=0", "epochs"),
        ("epochs=3", "epochs=3"),
        ("--kind=medium", r"kind.*hard\|soft"),
        ("--rate=high", "rate.*high"),
        ("--scale=1", "scale.*two numbers"),
        ("--size=1x2x3", "size.*HEIGHTxWIDTH"),
        ("--depths=2,x", "depths.*numbers"),
        ("--blocks=2,0.5", "blocks.*whole numbers"),
        ("--runs", "--runs needs a value"),
    ],
)
def test_other_values_are_rejected(argument, words):
    with pytest.raises(InputError, match=words) as error:
        parse_flags(OPTIONS, [argument])
    assert "\n" not in str(error.value)


def test_a_required_flag_has_to_be_given():
    options = [Option("output", str, "File to write.", required=True)]
    with pytest.raises(InputError, match=r"--output.*File to write"):
        parse_flags(options, [])
    assert parse_flags(options, ["--output=a"]) == {"output": "a"}


def test_the_help_has_values_defaults_and_texts():
    lines = options_help(OPTIONS).splitlines()
    assert "  --epochs INTEGER" in lines
    assert "      Number of epochs. Default: 3." in lines
    assert "  --kind hard|soft" in lines
    assert "  --[no]fast" in lines
    assert "  --scale LOW,HIGH" in lines
    assert "title" not in "\n".join(lines)
