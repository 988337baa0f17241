"""Pairs of texts by name: files, names from Babel, and datasets of TensorFlow Datasets."""

import re

from keras_deit.core.errors import InputError
from keras_deit.core.files import user_path
from keras_deit.data.tfds_pairs import load_tfds_pairs
from keras_deit.sequence.names import name_pairs
from keras_deit.sequence.pairs import Pairs, read_pairs, shared_texts, split_pairs

_NAMES = "names:"
_LANGUAGES = re.compile(r"([A-Za-z_]+)-([A-Za-z_]+)")


def load_pairs(
    train: str,
    validation: str | None = None,
    test: str | None = None,
    languages: str | None = None,
    data_dir: str | None = None,
) -> Pairs:
    """Loads pairs of texts.

    What has no splits of its own is split so that no text is in two of them, see `split_pairs`.
    Pairs of a training file that share a text with one that is given for validation or test are
    dropped. The published splits of TFDS stay as they are.

    Args:
        train: a .tsv file of sources and targets, see `read_pairs`; "names:en-de" for names in two
            languages from Babel; or a translation dataset of TFDS such as "wmt14_translate/de-en".
        validation, test: .tsv files; both or none, and with a .tsv file only.
        languages: source and target of a dataset of TFDS, "en-de"; by default its own order.
        data_dir: directory of TFDS's prepared data; None for its default.

    Raises:
        InputError: the data cannot be read, or too few pairs are left.
    """
    if (validation is None) != (test is None):
        raise InputError("Give --validation and --test together, or neither.")
    is_file = train.endswith((".tsv", ".txt")) or user_path(train).is_file()
    if validation is not None and not is_file:
        raise InputError(f"--validation and --test go with a .tsv file. Received: {train!r}")
    if is_file:
        if languages is not None:
            raise InputError("--languages goes with TFDS: a file has source, tab, target.")
        return _of_files(train, validation, test)
    if train.startswith(_NAMES):
        if languages is not None:
            raise InputError(f"--languages goes with TFDS; {train!r} says them itself.")
        pairs, groups = name_pairs(_two(train.removeprefix(_NAMES), f"{_NAMES}en-de"))
        return Pairs(train, **split_pairs(pairs, groups))
    splits = load_tfds_pairs(train, languages and _two(languages, "en-de"), data_dir)
    if {*splits} != {"train", "validation", "test"}:
        raise InputError(
            f"{train!r} should have the splits train, validation and test. "
            f"Received: {', '.join(splits)}"
        )
    held = ("validation", "test")
    # At once, because the texts of train may be millions.
    shared = {*shared_texts([pair for split in held for pair in splits[split]], splits["train"])}
    notes = [
        f"{split}: {sum(pair in shared for pair in splits[split]):,} of "
        f"{len(splits[split]):,} pairs share a text with train"
        for split in held
    ]
    return Pairs(train, **splits, notes=tuple(notes))


def _two(text: str, example: str) -> tuple[str, str]:
    found = _LANGUAGES.fullmatch(text)
    if not found or found[1] == found[2]:
        raise InputError(f"Two languages are needed, as in {example}. Received: {text!r}")
    return found[1], found[2]


def _of_files(train: str, validation: str | None, test: str | None) -> Pairs:
    pairs, notes = read_pairs(user_path(train))
    if validation is None:
        return Pairs(train, **split_pairs(pairs), notes=notes)
    held = {}
    for name, path in (("validation", validation), ("test", test)):
        held[name], more = read_pairs(user_path(path))
        notes += more
    for kept, others in (("validation", held["test"]), ("train", None)):
        own = pairs if kept == "train" else held[kept]
        others = [*held["validation"], *held["test"]] if others is None else others
        shared = {*shared_texts(own, others)}
        if shared:
            notes += (f"{kept}: {len(shared):,} pairs that share a text with later splits dropped",)
        held[kept] = [pair for pair in own if pair not in shared]
        if not held[kept]:
            raise InputError(f"Every pair for {kept} shares a text with the files held out.")
    return Pairs(train, **held, notes=notes)
