"""The directory, the data and the options of the trainings of a study."""

import pathlib
from collections.abc import Sequence

from keras_deit.core.errors import unknown_name
from keras_deit.core.files import user_path
from keras_deit.data import dataset_size
from keras_deit.recipes import AUTO
from keras_deit.studies.data import study_dataset
from keras_deit.studies.definition import SCALES, Cell, StudyDefinition

# The longest row of patches and the sides of images, as the recipe auto chooses them on a CPU.
_MAX_GRID = 8
_SIDES = (16, 64)


def study_folder(study: StudyDefinition, scale: str, output: str | None) -> pathlib.Path:
    """Returns the directory of a study.

    Raises:
        InputError: there is no such scale.
    """
    if scale not in SCALES:
        raise unknown_name("scale", scale, SCALES)
    return user_path(output or f"runs/study_{study.name}_{scale}")


def study_datasets(
    study: StudyDefinition, scale: str, datasets: Sequence[str] | None
) -> tuple[str, ...]:
    """Returns the names of the data of a study."""
    published = (study.paper["dataset"],)
    return tuple(datasets or (published if scale == "paper" else study.datasets))


def cell_options(
    study: StudyDefinition, cell: Cell, dataset: str, scale: str, folder: pathlib.Path
) -> dict:
    """Returns the options of a cell's trainings, without the seed; None leaves an option out."""
    data = study_dataset(dataset, folder / "data")
    options = {
        **(study.small if scale == "small" else study.paper),
        **cell.options_at(scale),
        "dataset": data,
        "teacher_dir": str(folder / "teachers"),
    }
    if options.get("recipe") == AUTO:
        options = {**_sides(data), **options}
    return {name: value for name, value in options.items() if value is not None}


def options_with_teachers(
    study: StudyDefinition, dataset: str, scale: str, folder: pathlib.Path
) -> dict[str, dict]:
    """Returns the options of the cells with a teacher that is no run of another cell, by name."""
    found = {}
    for cell in study.trained:
        if not cell.needs(scale) and "teacher" in cell.options_at(scale):
            found[cell.name] = cell_options(study, cell, dataset, scale, folder)
    return found


def _sides(dataset: str) -> dict:
    """Returns the side of the images and of the patches for small data, as the recipe auto does."""
    least, most = _SIDES
    side = min(max(dataset_size(dataset, with_side=True).side or most, least), most)
    patch = 2
    while side / patch > _MAX_GRID:
        patch *= 2
    return {"image_size": -(-side // patch) * patch, "patch_size": patch}


def file_word(name: str) -> str:
    """Returns a name of a directory."""
    return "".join(c if c.isalnum() else "_" for c in name)
