"""Running a study: the trainings of its cells, one after the other, its figures, and its pages."""

import json
import pathlib
import platform
import shlex
import time
from collections.abc import Callable, Sequence

import keras

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.files import check_writable, user_path, write_json
from keras_deit.data import dataset_size
from keras_deit.evaluation import prune, train_seeds
from keras_deit.evaluation.seed_study import Study, parse_seeds, seeds_text
from keras_deit.evaluation.seed_training import SeedsFailed
from keras_deit.recipes import AUTO
from keras_deit.studies.data import study_dataset
from keras_deit.studies.definition import SCALES, Cell, StudyDefinition, get_study
from keras_deit.studies.pages import html_page, markdown_page
from keras_deit.studies.results import study_document
from keras_deit.teachers import TeacherContract, save_teacher_model
from keras_deit.training import Run
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
        parallel_seeds: number of seeds that are trained at once.
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
    failed, runs = [], {}
    for dataset in study_datasets(study, scale, datasets):
        trainings = _Trainings(study, dataset, scale, folder, failed, print_fn)
        runs[dataset] = {
            cell.name: trainings.run(cell, numbers, parallel_seeds, imports)
            for cell in study.trained
        }
        runs[dataset] |= trainings.prune(runs[dataset])
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


class _Trainings:
    """The trainings of a study on some data, in studies of seeds.

    All seeds of a cell are in one, unless they start from different runs. What fails is added to
    `failed` in a line.
    """

    def __init__(self, study, dataset, scale, folder, failed, print_fn):
        self._study, self._dataset, self._scale = study, dataset, scale
        self._folder, self._failed, self._print = folder, failed, print_fn

    def run(self, cell: Cell, seeds: Sequence[int], parallel_seeds, imports) -> dict[int, Run]:
        """Trains the seeds of a cell, and returns the finished runs by seed."""
        self._print(f"{self._study.name}, {self._dataset}: {cell.name}")
        finished = {}
        for group in [[seed] for seed in seeds] if cell.needs(self._scale) else [seeds]:
            seeds_study = self._seeds_of(cell, group[0])
            at_once = min(parallel_seeds, len(group))
            try:
                train_seeds(
                    *(group, at_once, str(seeds_study.path), imports, self._indented),
                    **self._options(cell, group[0]),
                )
            except SeedsFailed as error:
                self._fail(cell, error)
            except InputError as error:
                # What is there may be of another recipe.
                self._fail(cell, error)
                continue
            known = seeds_study.config["results"]
            runs = {seed: seeds_study.run(seed) for seed in group if seed in known}
            finished |= {seed: run for seed, run in runs.items() if run.summary is not None}
        return finished

    def prune(self, runs: dict[str, dict[int, Run]]) -> dict[str, dict[int, Run]]:
        """Returns the runs of the pruned cells; those of other rates share the gates of a run."""
        groups = {}
        for cell in self._study.pruned:
            options = json.dumps(cell.options_at(self._scale), sort_keys=True)
            groups.setdefault((cell.runs_of, options), []).append(cell)
        found = {cell.name: {} for cell in self._study.pruned}
        for (name, options), cells in groups.items():
            place = self._folder.joinpath(_word(self._dataset), f"from_{_word(cells[0].name)}")
            for seed, run in runs[name].items():
                self._print(f"{self._study.name}, {self._dataset}: seed {seed} is pruned")
                try:
                    rows = prune(
                        self._indented,
                        run_dir=str(run.path),
                        rate=[cell.pruning_rate for cell in cells],
                        output=str(place / f"seed_{seed}"),
                        **json.loads(options),
                    )["rows"]
                except InputError as error:
                    self._fail(cells[0], error)
                    continue
                by_rate = {row["rate"]: Run(row["run_dir"]) for row in rows}
                for cell in cells:
                    found[cell.name][seed] = by_rate[cell.pruning_rate]
        return found

    def _indented(self, line: str) -> None:
        self._print(f"  {line}")

    def _fail(self, cell: Cell, error: InputError) -> None:
        self._failed.append(f"{self._dataset}, {cell.name}: {error}")
        self._indented(str(error))

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
