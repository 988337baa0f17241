"""The authors' table of AugReg's checkpoints, and which of them fits a budget.

`index.csv` has a row for every fine-tune of every pretrained checkpoint; a reader of this package
fetches it herself.
"""

import csv
import dataclasses
import math
import re
from collections.abc import Callable, Iterable

from keras_deit.core.errors import InputError, first_line, unknown_name
from keras_deit.core.files import user_path
from keras_deit.recipes.augreg_names import (
    PRETRAINING_SIZE,
    TRANSFERS,
    AugRegCheckpoint,
    parse_checkpoint,
)

FOLDER = "gs://vit_models/augreg"
_COLUMNS = (
    *("ds", "final_val", "final_test", "adapt_ds", "adapt_steps", "adapt_resolution"),
    *("adapt_final_val", "adapt_final_test", "params", "infer_samples_per_sec"),
    *("filename", "adapt_filename"),
)


@dataclasses.dataclass(frozen=True)
class IndexRow:
    """A row of the table: a pretrained checkpoint and one of its fine-tunes.

    Attributes:
        pretrained, fine_tuned: what the names of the two files say.
        data: the pretraining: "i1k", "i21k" for 300 epochs, or "i21k_30" for 30.
        steps: number of steps of the fine-tuning.
        validation, test: accuracy of the pretrained checkpoint.
        fine_tuned_validation, fine_tuned_test: accuracy of the fine-tuned one.
        parameters: number of parameters.
        images_per_second: in inference on a V100, at the size of the fine-tuning.
        file, fine_tuned_file: names of the two files, without the ending .npz.
    """

    pretrained: AugRegCheckpoint
    fine_tuned: AugRegCheckpoint
    data: str
    steps: int
    validation: float
    test: float
    fine_tuned_validation: float
    fine_tuned_test: float
    parameters: float
    images_per_second: float
    file: str
    fine_tuned_file: str


def read_index(path: str) -> list[IndexRow]:
    """Reads the authors' `index.csv`.

    Args:
        path: the path of the file.

    Raises:
        InputError: it cannot be read, lacks a column, or a row holds something else.
    """
    try:
        with user_path(path).open(encoding="utf-8-sig", newline="") as file:
            return _rows(csv.DictReader(file), path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV: {first_line(error)}.") from error


def _rows(reader: csv.DictReader, path: str) -> list[IndexRow]:
    missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(
            f"{path} is not the index of AugReg's checkpoints: it has no column "
            f"{', '.join(missing)}."
        )
    rows = []
    for values in reader:
        try:
            rows.append(_row(values))
        except (InputError, TypeError, ValueError) as error:
            raise InputError(f"{path}, line {reader.line_num}: {first_line(error)}") from error
    if not rows:
        raise InputError(f"{path} has no rows.")
    return rows


def _row(values: dict[str, str]) -> IndexRow:
    pretrained = parse_checkpoint(values["filename"])
    fine_tuned = parse_checkpoint(values["adapt_filename"])
    if fine_tuned.fine_tuning is None:
        raise InputError(f"adapt_filename {values['adapt_filename']!r} is not of a fine-tune.")
    told = values["adapt_ds"], int(float(values["adapt_resolution"]))
    named = fine_tuned.fine_tuning.data, fine_tuned.fine_tuning.image_size
    if told != named:
        raise InputError(f"adapt_ds and adapt_resolution are {told}, in adapt_filename {named}.")
    return IndexRow(
        pretrained,
        fine_tuned,
        values["ds"],
        int(float(values["adapt_steps"])),
        *(_number(values[name]) for name in ("final_val", "final_test")),
        *(_number(values[name]) for name in ("adapt_final_val", "adapt_final_test")),
        *(_number(values[name]) for name in ("params", "infer_samples_per_sec")),
        values["filename"],
        values["adapt_filename"],
    )


def _number(text: str) -> float:
    """Returns a number; NaN for an empty cell, as where nothing was measured."""
    return float(text) if text.strip() else math.nan


def nearest_transfer(images: int, known: Iterable[str] = tuple(TRANSFERS)) -> str:
    """Returns the data set of the authors' fine-tunes whose number of images is the nearest.

    Args:
        images: number of training images, 1 or more.
        known: names of the data sets.
    """
    return min(known, key=lambda name: abs(math.log(TRANSFERS[name].images / images)))


def recommended(
    rows: list[IndexRow],
    data: str = "i21k",
    *,
    finetuned: str | None = None,
    resolution: int | None = None,
    model: str | None = None,
    max_parameters: float | None = None,
    min_images_per_second: float | None = None,
) -> list[IndexRow]:
    """Returns the recommended checkpoint of each architecture, the best one first.

    That is the pretrained one with the highest validation accuracy at the end (§4.5 of the paper:
    choosing by it is about as good as trying all), and of its fine-tunes likewise.

    Args:
        rows: as `read_index` returns them.
        data: the pretraining, see `IndexRow`.
        finetuned: data set of the fine-tunes to choose from and to order by; None for any: only the
            pretrained checkpoint is chosen.
        resolution: side in pixels of the images after fine-tuning; None for any, or for that of the
            pretraining if `finetuned` is None.
        model: only this architecture: "S_16", "S/16" or "vit_small_patch16".
        max_parameters: only models with no more parameters.
        min_images_per_second: only models that are as fast, on a V100 at the resolution.

    Raises:
        InputError: there is no such pretraining, fine-tuning or model in the table, or no model is
            like that.
    """
    rows = _selected(rows, "pretraining", lambda row: row.data, data)
    best = _best(rows, lambda row: row.validation)
    kept = {row.file for row in best.values()}
    rows = [row for row in rows if row.file in kept]
    if finetuned is not None:
        rows = _selected(rows, "data set of a fine-tuning", _data, finetuned)
    elif resolution is None:
        resolution = PRETRAINING_SIZE
    if resolution is not None:
        rows = _selected(rows, "resolution", lambda row: row.fine_tuned.image_size, resolution)
    if model is not None:
        named = re.sub("[+/]", "_", model)
        rows = [row for row in rows if named in (row.pretrained.architecture, *_names(row))]
        if not rows:
            raise unknown_name("architecture of AugReg", model, best)
    if max_parameters is not None:
        rows = [row for row in rows if row.parameters <= max_parameters]
    if min_images_per_second is not None:
        rows = [row for row in rows if row.images_per_second >= min_images_per_second]
    if not rows:
        raise InputError("No checkpoint is like that; allow more parameters or fewer images/s.")
    chosen = _best(rows, lambda row: row.fine_tuned_validation).values()
    score = "validation" if finetuned is None else "fine_tuned_validation"
    return sorted(chosen, key=lambda row: getattr(row, score), reverse=True)


def _data(row: IndexRow) -> str:
    return row.fine_tuned.fine_tuning.data


def _names(row: IndexRow) -> tuple[str, ...]:
    name = row.fine_tuned.model()
    return name, name.rpartition("_")[0]


def _selected(rows: list[IndexRow], kind: str, key: Callable, wanted) -> list[IndexRow]:
    found = [row for row in rows if key(row) == wanted]
    if not found:
        known = sorted({str(key(row)) for row in rows})
        raise InputError(f"The index has no {kind} {wanted!r}, but {', '.join(known)}.")
    return found


def _best(rows: list[IndexRow], key: Callable[[IndexRow], float]) -> dict[str, IndexRow]:
    """Returns the row of each architecture with the highest value; NaN is below all others."""
    best: dict[str, IndexRow] = {}
    for row in rows:
        name = row.pretrained.architecture
        if name not in best or _above(key(row), key(best[name])):
            best[name] = row
    return best


def _above(one: float, other: float) -> bool:
    return one > other or (math.isnan(other) and not math.isnan(one))
