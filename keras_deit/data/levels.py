"""Two levels of labels: a training learns the coarse ones, and is also measured by the fine ones.

As in "Grafit: Learning fine-grained image representations with coarse labels" (Touvron et al.,
2021).
"""

import dataclasses
from collections.abc import Mapping, Sequence

from keras_deit.core.errors import InputError
from keras_deit.core.files import read_json, user_path
from keras_deit.data.folder_files import listed
from keras_deit.data.source import Dataset, Relabeled, Source

# What names a grouping that no file has to hold.
FOLDERS, DIGITS = "folders", "digits"
# The ten digits by their shape: closed loops, straight strokes, open curves.
_SHAPES = {"loops": "0689", "strokes": "147", "curves": "235"}
DIGIT_GROUPS = {digit: shape for shape, digits in _SHAPES.items() for digit in digits}


class CoarseSource(Relabeled):
    """A source of examples with coarse labels, which also gives them with their fine ones.

    Args:
        source: the examples with fine labels.
        coarse_of: the coarse class index by the fine one.

    Attributes:
        fine: the examples with fine labels.
    """

    def __init__(self, source: Source, coarse_of):
        super().__init__(source, coarse_of)
        self.fine = source


def read_grouping(value: str | Mapping[str, str]) -> str | dict[str, str]:
    """Returns a grouping of classes as it is stored with a run.

    Args:
        value: "folders", "digits", the path of a JSON file, or the coarse class by the fine one.

    Raises:
        InputError: the file is not a JSON object from names to names.
    """
    if value in (FOLDERS, DIGITS):
        return value
    complaint = f"{value} holds no grouping of classes"
    found = value if isinstance(value, Mapping) else read_json(user_path(value), complaint)
    pairs = found.items() if isinstance(found, Mapping) else [(None, None)]
    if not all(isinstance(name, str) for pair in pairs for name in pair):
        raise InputError(
            f'{complaint}: expected {{"fine class": "coarse class", ...}}, as in '
            f'{{"tabby": "cat", "beagle": "dog"}}.'
        )
    return dict(found)


def with_coarse_labels(dataset: Dataset, grouping: str | Mapping[str, str]) -> Dataset:
    """Returns a dataset whose labels are coarse, and that keeps the fine ones.

    Coarse classes are in the order of their names.

    Args:
        dataset: with fine labels. For "folders" the names of its classes are COARSE/FINE.
        grouping: as `read_grouping` returns it.

    Raises:
        InputError: a class has no coarse one, the grouping names a class that the data has not, or
            there are fewer than two coarse classes.
    """
    names = dataset.class_names
    coarse, coarse_of = coarse_classes(dataset.name, names, grouping)
    sources = {s: CoarseSource(getattr(dataset, s), coarse_of) for s in dataset.examples}
    note = f"labels: {len(coarse)} coarse classes, {len(names)} fine ones for the evaluation"
    return dataclasses.replace(
        dataset,
        class_names=coarse,
        fine_class_names=names,
        coarse_of=coarse_of,
        notes=(*dataset.notes, note),
        **sources,
    )


def coarse_classes(
    dataset: str, names: Sequence[str], grouping: str | Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Returns the names of the coarse classes, and the index of that of every fine one.

    Args:
        dataset: name of the dataset, for errors.
        names: names of its classes.
        grouping, and errors: as for `with_coarse_labels`.
    """
    if grouping == FOLDERS:
        grouping = {name: name.split("/")[0] for name in names}
    elif grouping == DIGITS:
        grouping = DIGIT_GROUPS
    missing = [name for name in names if name not in grouping]
    unknown = sorted({*grouping} - {*names})
    if missing or unknown:
        what = "has no coarse class for" if missing else "names what is no class of the data:"
        raise InputError(
            f"The grouping of the classes of {dataset} {what} {listed(missing or unknown)}. "
            f"It should name each of the {len(names)} classes once."
        )
    coarse = tuple(sorted(set(grouping.values())))
    if len(coarse) < 2:
        raise InputError(f"At least two coarse classes are needed. Received: {listed([*coarse])}")
    return coarse, tuple(coarse.index(grouping[name]) for name in names)
