"""Names of files as text."""

import os

import pytest

from keras_deit.core.names import composed, printable, readable


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"K\xe4se", "Käse"),
        ("Käse/".encode() + b"caf\xe9", "Käse/café"),
        ("Käse \N{ZERO WIDTH JOINER}".encode(), "Käse \N{ZERO WIDTH JOINER}"),
        (b"a\nb", "a\nb"),
    ],
)
def test_bytes_that_are_not_utf_8_are_read_as_latin_1(name, expected):
    assert readable(os.fsdecode(name)) == expected


def test_accents_are_composed():
    assert composed("cafe\u0301") == composed("caf\xe9") == composed("caf\udce9") == "caf\xe9"


def test_what_changes_the_look_of_a_terminal_is_escaped():
    assert printable(os.fsdecode(b"a\nb\x9f")) == r"a\nb\x9f"
    assert printable("safe\u202egnp") == r"safe\u202egnp"
    assert printable("\ud800") == r"\ud800"
