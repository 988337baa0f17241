"""The processes of a study: which training, pruning or labeling can start next."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterable, Sequence

from keras_deit.core.errors import InputError
from keras_deit.core.files import read_json
from keras_deit.evaluation.report import training_command
from keras_deit.evaluation.seed_processes import (
    Ending,
    SeedTrainings,
    Task,
    environment_beside,
    visible_gpus,
)
from keras_deit.evaluation.seed_study import Study, seeds_text
from keras_deit.evaluation.seed_training import seed_trainings
from keras_deit.studies.definition import Cell
from keras_deit.studies.options import cell_options, file_word, options_with_teachers
from keras_deit.studies.shared_labels import shared_labels, with_labels
from keras_deit.teachers import TeacherContract, save_teacher_model
from keras_deit.training import Run
from keras_deit.training.pruning import PRUNING_FILE


@dataclasses.dataclass(frozen=True)
class Processes:
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


class StudyTrainings:
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
        self._labels = shared_labels(study, options_with_teachers(study, dataset, scale, folder))
        # Of labels and a seed, whether they have been made; None while a process makes them.
        self._labeled: dict[tuple[str, int], bool | None] = {}
        self._pruned = _with_the_same_gates(study.pruned, scale)
        self._to_prune = [(cells, seed) for cells in self._pruned for seed in seeds]
        # The studies of seeds that are open, by their directory; None if that was not possible.
        self._open: dict[pathlib.Path, SeedTrainings | None] = {}

    def next(self) -> Task | None:
        """Returns what can start; None if nothing can before a process ends."""
        for cell, seed in [*self._waiting]:
            needed = [self._outcome(n, seed) for n in self._needed(cell)]
            if cell.name in self._labels:
                if (labeling := self._labeling(cell, seed)) is not None:
                    return labeling
                needed.append(self._labeled[self._labels[cell.name].name, seed])
            if None in needed:
                continue
            self._waiting.remove((cell, seed))
            if False in needed:
                self._fail(cell, f"seed {seed} starts from what has failed")
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
            seeds = [seed] if self._is_of_one_seed(cell) else self._seeds
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
        words = [file_word(self._dataset), f"from_{file_word(cells[0].name)}", f"seed_{seed}"]
        return self._folder.joinpath(*words)

    def _printing(self, cell: Cell) -> Callable[[str], None]:
        return lambda line: self._print(f"{self._dataset}, {cell.name}: {line}")

    def _fail(self, cell: Cell, reason: str) -> None:
        self.failed.append(f"{self._dataset}, {cell.name}: {reason}")
        self._print(self.failed[-1])

    def _seeds_of(self, cell: Cell, seed: int) -> Study:
        """Returns the study of seeds that a seed of a cell belongs to."""
        words = [file_word(self._dataset), file_word(cell.name)]
        own = [f"from_{seed}"] if self._is_of_one_seed(cell) else []
        return Study(self._folder.joinpath(*words, *own))

    def _is_of_one_seed(self, cell: Cell) -> bool:
        """Returns whether the options of a cell differ between its seeds."""
        return bool(cell.needs(self._scale)) or cell.name in self._labels

    def _options(self, cell: Cell, seed: int) -> dict:
        options = cell_options(self._study, cell, self._dataset, self._scale, self._folder)
        for option, name in cell.needs(self._scale).items():
            needed = next(other for other in self._study.cells if other.name == name)
            run = self._seeds_of(needed, seed).run(seed)
            options[option] = _teacher_file(run) if option == "teacher" else str(run.path)
        if cell.name in self._labels:
            options = with_labels(options, self._folder_of_labels(cell, seed))
        return options

    def _labeling(self, cell: Cell, seed: int) -> Task | None:
        """Returns the labeling that a cell needs, if it has not begun."""
        labels, folder = self._labels[cell.name], self._folder_of_labels(cell, seed)
        key = labels.name, seed
        if key in self._labeled:
            return None
        if labels.are_complete(folder):
            self._labeled[key] = True
            return None
        self._labeled[key] = None
        folder.parent.mkdir(parents=True, exist_ok=True)
        log = folder.with_name(f"{folder.name}.log")

        def ended(ending: Ending) -> None:
            self._labeled[key] = not ending.failure
            if ending.failure:
                reason = f"there are no labels of seed {seed} ({ending.failure}); {log} has more"
                self._fail(cell, reason)
            else:
                line = f"Seed {seed}: labels for all rows with its views, {ending.seconds:,.0f} s."
                self._printing(cell)(line)

        options = {**labels.options, "seed": seed, "output": str(folder)}
        words = ["label", *training_command(options)[2:]]
        return self._processes.task(f"the labeling of {folder}", words, log, ended)

    def _folder_of_labels(self, cell: Cell, seed: int) -> pathlib.Path:
        words = [file_word(self._dataset), self._labels[cell.name].name, f"seed_{seed}"]
        return self._folder.joinpath(*words)


def _with_the_same_gates(cells: Sequence[Cell], scale: str) -> list[tuple[Cell, ...]]:
    """Returns pruned cells in groups that differ in nothing but the rate."""
    groups: dict[tuple, list[Cell]] = {}
    for cell in cells:
        options = json.dumps(cell.options_at(scale), sort_keys=True)
        groups.setdefault((cell.runs_of, options), []).append(cell)
    return [tuple(group) for group in groups.values()]


def next_of(all_trainings: Iterable[StudyTrainings]) -> Task | None:
    """Returns what can start next of the trainings on several data, the first data first."""
    return next((found for each in all_trainings if (found := each.next())), None)


def _teacher_file(run: Run) -> str:
    """Returns the file of a run's model as a teacher, and writes it if there is none."""
    file = run.path / "teacher.keras"
    if not file.is_file():
        model, classes = run.model(), list(run.config["class_names"])
        contract = TeacherContract(model.image_format, "logits", len(classes))
        save_teacher_model(model, contract, file, classes=classes)
    return str(file)
