"""Pairs of texts: files with tabs, and splits that share no text."""

import collections
import dataclasses
import hashlib
import pathlib
import unicodedata
from collections.abc import Sequence

from keras_deit.core.errors import InputError

# The shares of the pairs that are held out for validation and for test.
_HELD_OUT = 0.1


@dataclasses.dataclass(frozen=True)
class Pairs:
    """The splits of a dataset of texts in two languages.

    Attributes:
        name: of the dataset.
        train, validation, test: pairs of source and target.
        notes: lines for the user, such as how many pairs were dropped and why.
    """

    name: str
    train: Sequence[tuple[str, str]]
    validation: Sequence[tuple[str, str]]
    test: Sequence[tuple[str, str]]
    notes: tuple[str, ...] = ()

    def digest(self) -> str:
        """Returns sixteen hexadecimal digits that identify the pairs of all splits."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            digest.update(f"{len(split)}\n".encode())
            for pair in split:
                digest.update("\t".join(pair).encode() + b"\n")
        return digest.hexdigest()[:16]


def read_pairs(path: pathlib.Path) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """Reads a file of a source and a target in each line, with a tab between them, in UTF-8.

    Pairs with an empty side, and duplicate pairs but for the first, are dropped.

    Returns:
        The pairs, and a note for each reason for which some were dropped.

    Raises:
        InputError: the file cannot be read, a line is not UTF-8 or has not two columns, or no pair
            is left.
    """
    pairs, dropped = {}, collections.Counter()
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                pair = _pair(line, f"{path}, line {number},", first=number == 1)
                if not all(pair):
                    dropped["pairs with an empty side"] += 1
                elif pair in pairs:
                    dropped["duplicate pairs"] += 1
                else:
                    pairs[pair] = None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    if not pairs:
        raise InputError(f"{path} has no pair of texts: SOURCE, a tab, TARGET in each line.")
    notes = tuple(f"{path.name}: {count:,} {what} dropped" for what, count in dropped.items())
    return list(pairs), notes


def _pair(line: bytes, where: str, first: bool) -> tuple[str, ...]:
    try:
        # Some editors begin a file with a byte order mark.
        text = line.decode("utf-8-sig" if first else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8: {error.reason} at byte {error.start}.") from error
    columns = text.split("\t") if text.strip() else ["", ""]
    if len(columns) != 2:
        raise InputError(
            f"{where} should have two columns with a tab between them. Received: {len(columns)}"
        )
    return tuple(" ".join(column.split()) for column in columns)


def split_pairs(
    pairs: Sequence[tuple[str, str]], groups: Sequence[str] | None = None
) -> dict[str, list[tuple[str, str]]]:
    """Splits pairs so that no text is in two splits, whatever its case and its side.

    Pairs with a text in common, directly or through others, stay together. So many of these are
    chosen by their digests for test, and then for validation, that each has at most a tenth of the
    pairs. The order of the pairs makes no difference.

    Args:
        pairs: of source and target.
        groups: by pair, a name; pairs with the same one stay together, too.

    Raises:
        InputError: there are too few pairs.
    """
    together = _together(pairs, groups)
    # The same order on every machine, and whatever else there is.
    together.sort(key=lambda members: min(_digest(pairs[index]) for index in members))
    most = max(int(_HELD_OUT * len(pairs)), 1)
    splits = {"test": [], "validation": [], "train": []}
    for members in together:
        # One that is too large for test or validation is for training.
        name = next(
            (
                split
                for split in ("test", "validation")
                if len(splits[split]) + len(members) <= most
            ),
            "train",
        )
        splits[name] += members
    if not all(splits.values()):
        raise InputError(
            f"{len(pairs):,} pairs, of which {len(together):,} share no text, are too few to hold "
            "out a tenth for validation and another for test; give --validation and --test."
        )
    return {name: [pairs[index] for index in sorted(members)] for name, members in splits.items()}


def _together(pairs: Sequence[tuple[str, str]], groups: Sequence[str] | None) -> list[list[int]]:
    """Returns the indices of the pairs that have a text or a group in common, by union-find."""
    parent = list(range(len(pairs)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    seen = {}
    for index, pair in enumerate(pairs):
        keys = [*map(folded, pair), *([(groups[index],)] if groups else ())]
        for key in keys:
            first, second = root(seen.setdefault(key, index)), root(index)
            parent[max(first, second)] = min(first, second)
    members = collections.defaultdict(list)
    for index in range(len(pairs)):
        members[root(index)].append(index)
    return list(members.values())


def folded(text: str) -> str:
    """Returns what two texts have in common that differ by case or by compatible characters."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _digest(pair: tuple[str, str]) -> str:
    return hashlib.sha256("\t".join(pair).encode()).hexdigest()


def shared_texts(
    pairs: Sequence[tuple[str, str]], others: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Returns the pairs of which a text is among those of others, on whatever side."""
    texts = (folded(text) for pair in others for text in pair)
    if len(pairs) < len(others):
        # No set of the texts of millions of pairs.
        known = {folded(text) for pair in pairs for text in pair}.intersection(texts)
    else:
        known = {*texts}
    return [pair for pair in pairs if any(folded(text) in known for text in pair)]
