"""Which tensor of a file goes where in a model, all of both accounted for."""

import dataclasses
import re

from keras_deit.errors import InputError
from keras_deit.models import Classifier
from keras_deit.pretrained.differences import Differences
from keras_deit.pretrained.naming import Entry, count_classes, describe, model_entries, tables
from keras_deit.pretrained.positions import patch_grid_of, square_grid
from keras_deit.pretrained.tensor_file import TensorFile

# What published files hold besides the weights, and why nothing is lost without it.
_IGNORED = (
    # PyTorch counts the batches that a BatchNormalization has seen; its averages do not need it.
    re.compile(r".*\.num_batches_tracked"),
    # transformers' dense layer behind the class token, of other tasks than classification.
    re.compile(r"(deit|vit)\.pooler\.dense\.(weight|bias)"),
)
_POSITIONS = "position_embedding/positions"
_CROSS_PATCH = "cross_patch/bias"


@dataclasses.dataclass(frozen=True)
class Match:
    """What is to be done with a file.

    Attributes:
        loaded: the variables that take their value from it.
        kept: the variables that keep their own, because the file has another class count.
        grid: rows and columns of the patches that the file's positions are for; None where they
            are taken as they are.
    """

    loaded: list[Entry]
    kept: list[Entry]
    grid: tuple[int, int] | None


def match(model: Classifier, file: TensorFile) -> Match:
    """Finds the file's naming by its names and pairs its tensors with the model's variables.

    Raises:
        InputError: it is of another architecture, something is left over on one side, or shapes
            differ where neither the class count nor the size of the images explains it.
    """
    entries = _entries(model, file)
    wanted = {name: entry for entry in entries for name in entry.names}
    found, expected = describe(file.shapes), describe(wanted)
    if found is None:
        names = ", ".join(sorted(file.shapes)[:3])
        raise InputError(
            f"{file.source} holds no model of a kind that is known here; it has {names}, ..."
        )
    family = found if found != expected else None
    if family and _undistilled(found) != _undistilled(expected):
        raise InputError(f"{file.source} holds a {found}; {model.name} is a {expected}.")
    _check_resolution(model, entries, file)
    differences = Differences(
        held={name: shape for name, shape in file.shapes.items() if not _is_ignored(name)},
        wanted={name: entry.tensor_shape for name, entry in wanted.items()},
        misshapen=[
            name
            for name, entry in wanted.items()
            if name in file.shapes and not _fits(entry, file.shapes[name])
        ],
    )
    if differences:
        reason = f"it holds a {found}, the model is a {expected}" if family else None
        raise differences.error(file.source, model.name, reason)
    return Match(
        [entry for entry in entries if not entry.of_another_class_count],
        [entry for entry in entries if entry.of_another_class_count],
        _position_grid(model, entries, file),
    )


def _entries(model: Classifier, file: TensorFile) -> list[Entry]:
    """In the naming that has most names in common with the file."""
    candidates = [
        model_entries(model, table, count_classes(file.shapes, table))
        for table in tables(model).values()
    ]
    return max(candidates, key=lambda entries: _overlap(entries, file))


def _overlap(entries: list[Entry], file: TensorFile) -> int:
    return sum(name in file.shapes for entry in entries for name in entry.names)


def _undistilled(description: str | None) -> str:
    return (description or "").removeprefix("distilled ")


def _is_ignored(name: str) -> bool:
    return any(pattern.fullmatch(name) for pattern in _IGNORED)


def _fits(entry: Entry, shape: tuple[int, ...]) -> bool:
    if entry.path == _POSITIONS:
        # Their number is a matter of the image size.
        return len(shape) == 3 and shape[::2] == entry.tensor_shape[::2]
    return shape == entry.tensor_shape


def _check_resolution(model: Classifier, entries: list[Entry], file: TensorFile) -> None:
    """A layer across the patches is bound to their number."""
    for entry in entries:
        shape = file.shapes.get(entry.names[0], entry.tensor_shape)
        if not entry.path.endswith(_CROSS_PATCH) or len(shape) != 1:
            continue
        if shape != entry.tensor_shape:
            raise InputError(
                f"{file.source} is bound to images of {shape[0]} patches; {model.name} has "
                f"{entry.tensor_shape[0]}. A ResMLP cannot be loaded at another size."
            )


def _position_grid(
    model: Classifier, entries: list[Entry], file: TensorFile
) -> tuple[int, int] | None:
    positions = [entry for entry in entries if entry.path == _POSITIONS]
    if not positions:
        return None
    (entry,) = positions
    rows, columns = patch_grid_of(model)
    length = file.shapes[entry.names[0]][1]
    patches = length - (entry.tensor_shape[1] - rows * columns)
    if file.grid and file.grid[0] * file.grid[1] == patches:
        return file.grid
    # Released weights are of square images; what is as long and no square was made for this size.
    grid = square_grid(patches)
    if grid is None and length != entry.tensor_shape[1]:
        raise InputError(
            f"{file.source} has positions for {patches} patches, which make no square; it does "
            f"not fit {model.name} with {rows}×{columns}, and cannot be resized."
        )
    return grid
