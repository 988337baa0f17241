"""Running a study: the trainings of its cells, its figures, and its pages."""

import contextlib
import dataclasses
import json
import pathlib
import platform
import shlex
import time
from collections.abc import Callable, Iterable, Sequence

import keras

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.files import check_writable, read_json, user_path, write_json
from keras_deit.data import dataset_size
from keras_deit.evaluation.report import training_command
from keras_deit.evaluation.seed_processes import (
    Ending,
    SeedTrainings,
    Task,
    environment_beside,
    run_side_by_side,
    visible_gpus,
)
from keras_deit.evaluation.seed_study import Study, parse_seeds, seeds_text
from keras_deit.evaluation.seed_training import seed_trainings
from keras_deit.recipes import AUTO
from keras_deit.studies.data import study_dataset
from keras_deit.studies.definition import SCALES, Cell, StudyDefinition, get_study
from keras_deit.studies.pages import html_page, markdown_page
from keras_deit.studies.results import study_document
from keras_deit.teachers import TeacherContract, save_teacher_model
from keras_deit.training import Run
from keras_deit.training.pruning import PRUNING_FILE
from keras_deit.version import __version__

DOCUMENT = "study.json"
# The longest row of patches and the sides of images, as the recipe auto chooses them on a CPU.
_MAX_GRID = 8
_SIDES = (16, 64)


def run_study(
    name: str,
    datasets: Sequence[str] | None = None,
    seeds: str | None = None,
    scale: str = "small",
    output: str | None = None,
    parallel_seeds: int = 1,
    imports: Sequence[str] = (),
    print_fn: Callable[[str], None] = print,
    command: str | None = None,
) -> dict:
    """Trains the cells of a study that are not finished, and returns its figures.

    Each cell is a study of seeds, see `train_seeds`, in a directory of its own. The same call goes
    on where it was stopped. A teacher that has to be trained is trained once for all cells. At the
    end the directory has `study.json`, `study.md` and `study.html`, also if a training has failed.

    Args:
        name: name of the study.
        datasets: names of data, as `study_dataset` takes them; by default those of the study.
        seeds: see `parse_seeds`; by default those of the study.
        scale: "small", or "paper" for the published setting.
        output: directory of the study; by default one below runs/.
        parallel_seeds: number of trainings at once, of any cells and seeds.
        imports: Python files of the user, see `train_seeds`.
        print_fn: called with each line for the user.
        command: the command that the pages show; by default one that does the same.

    Returns:
        The document, see `study_document`.

    Raises:
        InputError: there is no such study, or a training has failed; the others are finished before
            that.
        Stopped: by SIGTERM or Ctrl-C; everything is saved.
    """
    study = get_study(name)
    numbers = parse_seeds(seeds or study.seeds)
    folder = study_folder(study, scale, output)
    folder.mkdir(parents=True, exist_ok=True)
    check_writable(folder / DOCUMENT)
    command = command or _command(name, datasets, seeds, scale, output)
    with contextlib.ExitStack() as locks:
        processes = _Processes(parallel_seeds, imports, locks)
        by_dataset = {
            dataset: _Trainings(study, dataset, scale, folder, numbers, processes, print_fn)
            for dataset in study_datasets(study, scale, datasets)
        }
        run_side_by_side(lambda: _next_of(by_dataset.values()), parallel_seeds)
    runs = {dataset: trainings.runs() for dataset, trainings in by_dataset.items()}
    failed = [line for trainings in by_dataset.values() for line in trainings.failed]
    document = study_document(study, runs, _conditions(scale, numbers))
    write_json(folder / DOCUMENT, document)
    for suffix, page in {"md": markdown_page, "html": html_page}.items():
        (folder / f"study.{suffix}").write_text(page(document, command), "utf-8")
    if failed:
        raise InputError(f"{len(failed)} trainings of {folder} have failed: {'; '.join(failed)}")
    return document


def _command(name, datasets, seeds, scale, output) -> str:
    words = ["keras-deit", "study", name]
    if datasets:
        words += ["--dataset", *datasets]
    given = {
        "seeds": seeds_text(parse_seeds(seeds)) if seeds else None,
        "scale": None if scale == "small" else scale,
        "output_dir": output,
    }
    words += [w for flag, v in given.items() if v is not None for w in (f"--{flag}", str(v))]
    return shlex.join(words)


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


@dataclasses.dataclass(frozen=True)
class _Processes:
    """How the processes of a study are started.

    Attributes:
        parallel: number of processes at once.
        imports: Python files of the user.
        locks: holds the directories that are trained in.
    """

    parallel: int
    imports: Sequence[str]
    locks: contextlib.ExitStack

    def trainings(self, path, seeds, print_line, options) -> SeedTrainings:
        """Returns the trainings of a study of seeds."""
        given = (seeds, self.parallel, str(path), self.imports, print_line)
        return self.locks.enter_context(seed_trainings(*given, **options))

    def task(self, name: str, words: Sequence[str], log: pathlib.Path, ended: Callable) -> Task:
        """Returns another command as a task."""
        command, *flags = words
        environment = environment_beside(self.parallel - 1)
        gpus = visible_gpus(environment) if self.parallel > 1 else []
        imports = [f"--import={file}" for file in self.imports]
        return Task(name, [command, *imports, *flags], log, ended, environment, gpus)


class _Trainings:
    """The trainings and prunings of a study on some data, in studies of seeds.

    All seeds of a cell are in one, unless they start from different runs.

    Attributes:
        failed: what has failed, in a line each.
    """

    def __init__(self, study, dataset, scale, folder, seeds, processes, print_fn):
        self._study, self._dataset, self._scale = study, dataset, scale
        self._folder, self._seeds, self._print = folder, seeds, print_fn
        self._processes = processes
        self.failed: list[str] = []
        self._waiting = [(cell, seed) for cell in study.trained for seed in seeds]
        self._pruned = _with_the_same_gates(study.pruned, scale)
        self._to_prune = [(cells, seed) for cells in self._pruned for seed in seeds]
        # The studies of seeds that are open, by their directory; None if that was not possible.
        self._open: dict[pathlib.Path, SeedTrainings | None] = {}

    def next(self) -> Task | None:
        """Returns a training or a pruning that can start; None if none can before another ends."""
        for cell, seed in [*self._waiting]:
            needed = [self._outcome(n, seed) for n in self._needed(cell)]
            if None in needed:
                continue
            self._waiting.remove((cell, seed))
            if False in needed:
                self._fail(cell, f"seed {seed} starts from a run that has failed")
                continue
            trainings = self._opened(cell, seed)
            if trainings is not None and seed not in trainings.finished:
                return trainings.task(seed)
        return self._next_pruning()

    def _needed(self, cell: Cell) -> list[Cell]:
        """Returns the cells whose runs a cell starts from."""
        names = cell.needs(self._scale).values()
        return [other for other in self._study.trained if other.name in names]

    def _outcome(self, cell: Cell, seed: int) -> bool | None:
        """Returns whether the training of a seed has succeeded; None if it has not ended."""
        if (cell, seed) in self._waiting:
            return None
        trainings = self._open.get(self._seeds_of(cell, seed).path)
        if trainings is None or seed in trainings.failed:
            return False
        return True if seed in trainings.finished else None

    def _opened(self, cell: Cell, seed: int) -> SeedTrainings | None:
        """Returns the trainings of a seed's study; None, after a line, if it cannot be trained."""
        path = self._seeds_of(cell, seed).path
        if path not in self._open:
            self._open[path] = None
            seeds = [seed] if cell.needs(self._scale) else self._seeds
            try:
                options = self._options(cell, seed)
                trainings = self._processes.trainings(path, seeds, self._printing(cell), options)
            except InputError as error:
                # What is there may be of another recipe.
                self._fail(cell, str(error))
                return None
            trainings.waiting(seeds)
            self._open[path] = trainings
        return self._open[path]

    def runs(self) -> dict[str, dict[int, Run]]:
        """Returns the finished runs of each cell by their seeds."""
        found = {}
        for cell in self._study.trained:
            failed = [seed for seed in self._seeds if self._has_failed(cell, seed)]
            if failed:
                self._fail(cell, f"seeds {seeds_text(failed)} have failed")
            found[cell.name] = {
                seed: self._seeds_of(cell, seed).run(seed)
                for seed in self._seeds
                if self._outcome(cell, seed)
            }
        for cells in self._pruned:
            by_seed = {seed: self._pruned_runs(cells, seed) for seed in self._seeds}
            for cell in cells:
                rate = cell.pruning_rate
                found[cell.name] = {s: runs[rate] for s, runs in by_seed.items() if rate in runs}
        return found

    def _has_failed(self, cell: Cell, seed: int) -> bool:
        trainings = self._open.get(self._seeds_of(cell, seed).path)
        return trainings is not None and seed in trainings.failed

    def _next_pruning(self) -> Task | None:
        """Returns a pruning that can start; its rates share the gates, which are trained once."""
        for cells, seed in [*self._to_prune]:
            (pruned_cell,) = [c for c in self._study.trained if c.name == cells[0].runs_of]
            outcome = self._outcome(pruned_cell, seed)
            if outcome is None:
                continue
            self._to_prune.remove((cells, seed))
            if outcome and not self._has_rates(cells, seed):
                return self._pruning(cells, self._seeds_of(pruned_cell, seed).run(seed), seed)
        return None

    def _pruning(self, cells: tuple[Cell, ...], run: Run, seed: int) -> Task:
        folder = self._folder_of_pruning(cells, seed)
        folder.parent.mkdir(parents=True, exist_ok=True)
        log = folder.with_name(f"{folder.name}.log")

        def ended(ending: Ending) -> None:
            if ending.failure:
                reason = f"seed {seed} has not been pruned ({ending.failure}); {log} has more"
                self._fail(cells[0], reason)
            else:
                line = f"Seed {seed}: pruned, {ending.seconds:,.0f} s."
                self._printing(cells[0])(line)

        options = {"run_dir": str(run.path), "output": str(folder)}
        options |= cells[0].options_at(self._scale)
        rates = ["--rate", *(f"{cell.pruning_rate:g}" for cell in cells)]
        words = ["prune", *training_command(options)[2:], *rates]
        return self._processes.task(f"the pruning of {run.path}", words, log, ended)

    def _has_rates(self, cells: tuple[Cell, ...], seed: int) -> bool:
        return {cell.pruning_rate for cell in cells} <= self._pruned_runs(cells, seed).keys()

    def _pruned_runs(self, cells: tuple[Cell, ...], seed: int) -> dict[float, Run]:
        """Returns the runs of a pruning that is finished by their rates."""
        file = self._folder_of_pruning(cells, seed) / PRUNING_FILE
        if not file.is_file():
            return {}
        rows = read_json(file, f"{file} is not the result of a pruning")["rows"]
        return {row["rate"]: Run(row["run_dir"]) for row in rows}

    def _folder_of_pruning(self, cells: tuple[Cell, ...], seed: int) -> pathlib.Path:
        words = [_word(self._dataset), f"from_{_word(cells[0].name)}", f"seed_{seed}"]
        return self._folder.joinpath(*words)

    def _printing(self, cell: Cell) -> Callable[[str], None]:
        return lambda line: self._print(f"{self._dataset}, {cell.name}: {line}")

    def _fail(self, cell: Cell, reason: str) -> None:
        self.failed.append(f"{self._dataset}, {cell.name}: {reason}")
        self._print(self.failed[-1])

    def _seeds_of(self, cell: Cell, seed: int) -> Study:
        """Returns the study of seeds that a seed of a cell belongs to."""
        words = [_word(self._dataset), _word(cell.name)]
        own = [f"from_{seed}"] if cell.needs(self._scale) else []
        return Study(self._folder.joinpath(*words, *own))

    def _options(self, cell: Cell, seed: int) -> dict:
        options = cell_options(self._study, cell, self._dataset, self._scale, self._folder)
        for option, name in cell.needs(self._scale).items():
            needed = next(other for other in self._study.cells if other.name == name)
            run = self._seeds_of(needed, seed).run(seed)
            options[option] = _teacher_file(run) if option == "teacher" else str(run.path)
        return options


def _with_the_same_gates(cells: Sequence[Cell], scale: str) -> list[tuple[Cell, ...]]:
    """Returns pruned cells in groups that differ in nothing but the rate."""
    groups: dict[tuple, list[Cell]] = {}
    for cell in cells:
        options = json.dumps(cell.options_at(scale), sort_keys=True)
        groups.setdefault((cell.runs_of, options), []).append(cell)
    return [tuple(group) for group in groups.values()]


def _next_of(all_trainings: Iterable[_Trainings]) -> Task | None:
    return next((found for each in all_trainings if (found := each.next())), None)


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
    least, most = _SIDES
    side = min(max(dataset_size(dataset, with_side=True).side or most, least), most)
    patch = 2
    while side / patch > _MAX_GRID:
        patch *= 2
    return {"image_size": -(-side // patch) * patch, "patch_size": patch}


def _conditions(scale: str, seeds: Sequence[int]) -> dict:
    return {
        "scale": scale,
        "seeds": seeds_text(seeds),
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
