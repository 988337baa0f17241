"""Running a study: its trainings, one cell after the other, and its document."""

import pathlib
import platform
import time
from collections.abc import Callable, Iterator, Sequence

import keras

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.files import check_writable, user_path, write_json
from keras_deit.data import dataset_size
from keras_deit.evaluation import train_seeds
from keras_deit.evaluation.seed_study import Study, parse_seeds
from keras_deit.planning import make_plan
from keras_deit.studies.data import study_dataset
from keras_deit.studies.definition import SCALES, Cell, StudyDefinition, get_study
from keras_deit.studies.results import study_document
from keras_deit.training import make_job
from keras_deit.version import __version__

DOCUMENT = "study.json"
_RUN_OF = "run:"
# The longest row of patches, as the recipe auto chooses them.
_MAX_GRID = 8


def run_study(
    name: str,
    datasets: Sequence[str] | None = None,
    seeds: str | None = None,
    scale: str = "small",
    output: str | None = None,
    parallel_seeds: int = 1,
    imports: Sequence[str] = (),
    print_fn: Callable[[str], None] = print,
) -> dict:
    """Trains the cells of a study that are not finished, and returns its figures.

    Each cell is a study of seeds, see `train_seeds`, in a directory of its own. The same call goes
    on where it was stopped. A teacher that has to be trained is trained once for all cells.

    Args:
        name: name of the study.
        datasets: names of data, as `study_dataset` takes them; by default those of the study.
        seeds: see `parse_seeds`; by default those of the study.
        scale: "small", or "paper" for the published setting.
        output: directory of the study; by default one below runs/.
        parallel_seeds: number of seeds that are trained at once.
        imports: Python files of the user, see `train_seeds`.
        print_fn: called with each line for the user.

    Returns:
        The document, see `study_document`, which is also written.

    Raises:
        InputError: there is no such study, or a cell has failed; the others are trained before
            that.
        Stopped: by SIGTERM or Ctrl-C; everything is saved.
    """
    study = get_study(name)
    folder = study_folder(study, scale, output)
    chosen = seeds or study.seeds
    parse_seeds(chosen)
    folder.mkdir(parents=True, exist_ok=True)
    check_writable(folder / DOCUMENT)
    started, failed, found = time.monotonic(), [], {}
    for dataset in study_datasets(study, scale, datasets):
        found[dataset] = {}
        for cell in study.trained:
            print_fn(f"{study.name}, {dataset}: {cell.name}")
            options = cell_options(study, cell, dataset, scale, folder, chosen)
            run_dir = cell_folder(folder, dataset, cell.name)
            try:
                found[dataset][cell.name] = train_seeds(
                    chosen,
                    parallel_seeds,
                    str(run_dir),
                    imports,
                    lambda line: print_fn(f"  {line}"),
                    **options,
                )
            except InputError as error:
                failed.append(f"{dataset}, {cell.name}: {error}")
                print_fn(f"  {error}")
    document = study_document(study, found, _conditions(scale, chosen, started))
    write_json(folder / DOCUMENT, document)
    if failed:
        raise InputError(f"{len(failed)} cells of {folder} have failed: {'; '.join(failed)}")
    return document


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


def cell_folder(folder: pathlib.Path, dataset: str, cell: str) -> pathlib.Path:
    """Returns the directory of the runs of a cell."""
    words = ("".join(c if c.isalnum() else "_" for c in name) for name in (dataset, cell))
    return folder.joinpath(*words)


def cell_options(
    study: StudyDefinition,
    cell: Cell,
    dataset: str,
    scale: str,
    folder: pathlib.Path,
    seeds: str,
) -> dict:
    """Returns the options of a cell's trainings, without the seed."""
    is_small = scale == "small"
    data = study_dataset(dataset, folder / "data")
    options = {
        **(study.small if is_small else study.paper),
        **cell.options,
        **(cell.small if is_small else cell.paper),
        "dataset": data,
        "teacher_dir": str(folder / "teachers"),
    }
    if is_small:
        options = {**_sides(data), **options}
    first = parse_seeds(seeds)[0]
    for name, value in options.items():
        if isinstance(value, str) and value.startswith(_RUN_OF):
            runs = Study(cell_folder(folder, dataset, value.removeprefix(_RUN_OF)))
            options[name] = str(runs.run(first).path)
    return options


def _sides(dataset: str) -> dict:
    """Returns the side of the images and of the patches for small data, as the recipe auto does."""
    side = dataset_size(dataset, with_side=True).side
    patch = 2
    while side / patch > _MAX_GRID:
        patch *= 2
    return {"image_size": -(-side // patch) * patch, "patch_size": patch}


def _conditions(scale: str, seeds: str, started: float) -> dict:
    return {
        "scale": scale,
        "seeds": seeds,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": f"{platform.machine()}, {_processor()}",
        "software": f"keras-deit {__version__}, Keras {keras.__version__} on "
        f"{keras.backend.backend()}",
        "minutes of this call": round((time.monotonic() - started) / 60, 1),
    }


def _processor() -> str:
    file = pathlib.Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def study_plan(
    name: str, datasets: Sequence[str] | None = None, seeds: str | None = None, scale: str = "small"
) -> Iterator[str]:
    """Yields what the trainings of a study would take, as lines of text.

    Args:
        name, datasets, seeds, scale: as for `run_study`.
    """
    study = get_study(name)
    count = len(parse_seeds(seeds or study.seeds))
    folder = study_folder(study, scale, None)
    for dataset in study_datasets(study, scale, datasets):
        for cell in study.trained:
            options = cell_options(study, cell, dataset, scale, folder, seeds or study.seeds)
            plan = make_plan(make_job(**options))
            steps = plan.steps * count
            images = steps * plan.job.recipe.optimization.batch_size
            yield f"{dataset}, {cell.name}: {count} x {plan.steps:,} steps, {images:,} images"
