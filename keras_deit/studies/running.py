"""Running a study: the trainings of its cells, one after the other, and its figures."""

import pathlib
import platform
import time
from collections.abc import Callable, Sequence

import keras

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.files import check_writable, user_path, write_json
from keras_deit.data import dataset_size
from keras_deit.evaluation import prune, train_seeds
from keras_deit.evaluation.seed_study import Study, parse_seeds
from keras_deit.recipes import AUTO
from keras_deit.studies.data import study_dataset
from keras_deit.studies.definition import SCALES, Cell, StudyDefinition, get_study
from keras_deit.studies.results import study_document
from keras_deit.teachers import TeacherContract, save_teacher_model
from keras_deit.training import Run
from keras_deit.version import __version__

DOCUMENT = "study.json"
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
    numbers = parse_seeds(seeds or study.seeds)
    folder = study_folder(study, scale, output)
    folder.mkdir(parents=True, exist_ok=True)
    check_writable(folder / DOCUMENT)
    failed, runs = [], {}
    for dataset in study_datasets(study, scale, datasets):
        runs[dataset] = {}
        for cell in study.trained:
            trainings = _Trainings(study, cell, dataset, scale, folder)
            print_fn(f"{study.name}, {dataset}: {cell.name}")
            try:
                trainings.run(numbers, parallel_seeds, imports, lambda line: print_fn(f"  {line}"))
            except InputError as error:
                failed.append(f"{dataset}, {cell.name}: {error}")
                print_fn(f"  {error}")
            runs[dataset][cell.name] = trainings.finished(numbers)
        for cell in study.pruned:
            print_fn(f"{study.name}, {dataset}: {cell.name}")
            unpruned = runs[dataset][cell.runs_of]
            place = folder.joinpath(_word(dataset), f"pruned_{_word(cell.runs_of)}")
            runs[dataset][cell.name] = {
                seed: _pruned(run, cell, scale, place / f"seed_{seed}", print_fn)
                for seed, run in unpruned.items()
            }
    document = study_document(study, runs, _conditions(scale, numbers))
    write_json(folder / DOCUMENT, document)
    if failed:
        raise InputError(f"{len(failed)} cells of {folder} have failed: {'; '.join(failed)}")
    return document


def _pruned(run: Run, cell: Cell, scale: str, folder: pathlib.Path, print_fn) -> Run:
    """Returns what comes out if a run is pruned; cells of other rates share its gates."""
    result = prune(
        lambda line: print_fn(f"  {line}"),
        **{"run_dir": str(run.path), "rate": [cell.pruning_rate], "output": str(folder)},
        **cell.options_at(scale),
    )
    return Run(result["rows"][-1]["run_dir"])


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


class _Trainings:
    """The trainings of a cell, in studies of seeds.

    All seeds are in one, unless they start from different runs.
    """

    def __init__(self, study, cell, dataset, scale, folder):
        self._study, self._cell, self._dataset = study, cell, dataset
        self._scale, self._folder = scale, folder

    def run(self, seeds: Sequence[int], parallel_seeds, imports, print_fn) -> None:
        for group in self._groups(seeds):
            train_seeds(
                *(group, parallel_seeds, str(self._seeds(group).path), imports, print_fn),
                **self._options(group[0]),
            )

    def finished(self, seeds: Sequence[int]) -> dict[int, Run]:
        """Returns the finished runs by seed."""
        found = {
            seed: self._seeds(group).run(seed) for group in self._groups(seeds) for seed in group
        }
        return {
            seed: run
            for seed, run in found.items()
            if run.config_file.is_file() and run.summary is not None
        }

    def _groups(self, seeds: Sequence[int]) -> list[Sequence[int]]:
        """Returns the seeds of each study of seeds."""
        return [[seed] for seed in seeds] if self._cell.needs(self._scale) else [seeds]

    def _seeds(self, group: Sequence[int]) -> Study:
        return self._seeds_of(self._cell, group[0])

    def _seeds_of(self, cell: Cell, seed: int) -> Study:
        """Returns the study of seeds that a seed of a cell belongs to."""
        words = [_word(self._dataset), _word(cell.name)]
        own = [f"from_{seed}"] if cell.needs(self._scale) else []
        return Study(self._folder.joinpath(*words, *own))

    def _options(self, seed: int) -> dict:
        options = cell_options(self._study, self._cell, self._dataset, self._scale, self._folder)
        for option, name in self._cell.needs(self._scale).items():
            needed = next(cell for cell in self._study.cells if cell.name == name)
            run = self._seeds_of(needed, seed).run(seed)
            options[option] = _teacher_file(run) if option == "teacher" else str(run.path)
        return options


def _word(name: str) -> str:
    """Returns a name of a directory."""
    return "".join(c if c.isalnum() else "_" for c in name)


def _teacher_file(run: Run) -> str:
    """Returns the file of a run's model as a teacher, and writes it if there is none."""
    file = run.path / "teacher.keras"
    if not file.is_file():
        model, classes = run.model(), list(run.config["class_names"])
        contract = TeacherContract(model.image_format, "logits", len(classes))
        save_teacher_model(model, contract, file, classes=classes)
    return str(file)


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


def _sides(dataset: str) -> dict:
    """Returns the side of the images and of the patches for small data, as the recipe auto does."""
    side = dataset_size(dataset, with_side=True).side
    patch = 2
    while side / patch > _MAX_GRID:
        patch *= 2
    return {"image_size": -(-side // patch) * patch, "patch_size": patch}


def _conditions(scale: str, seeds: Sequence[int]) -> dict:
    return {
        "scale": scale,
        "seeds": len(seeds),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": f"{platform.machine()}, {_processor()}",
        "software": f"keras-deit {__version__}, Keras {keras.__version__} on "
        f"{keras.backend.backend()}",
    }


def _processor() -> str:
    file = pathlib.Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} × {names[0]}" if names else platform.processor()
