"""Names of files as text that can be shown and written."""

import unicodedata

# Control characters, those that change the direction of the text, and separators of lines.
_ESCAPED = ("Cc", "Cf", "Cs", "Zl", "Zp")


def readable(name: str) -> str:
    """Returns a name as text that can be encoded as UTF-8.

    Bytes that are not UTF-8, as in old archives, are read as Latin-1; Python has them as lone
    surrogates. Other ones, which no name of a file has, become escapes.
    """
    decoded = (chr(ord(c) - 0xDC00) if "\udc80" <= c <= "\udcff" else c for c in name)
    return "".join(decoded).encode("utf-8", "backslashreplace").decode()


def composed(name: str) -> str:
    """Returns `printable(name)` with each letter and its accent as one character (NFC), which
    archives of macOS have as two."""
    return unicodedata.normalize("NFC", printable(name))


def printable(name: str) -> str:
    """Returns the name of a file as text that every terminal, page and JSON file can hold.

    Bytes that are not UTF-8 are read as Latin-1, see `readable`. Control characters, such as a
    newline, and characters that change the direction of the text are written as escapes.
    """
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _ESCAPED
        else character
        for character in readable(name)
    )
