"""Running a study: the trainings of its cells, its figures, and its pages."""

import contextlib
import pathlib
import platform
import shlex
import time
from collections.abc import Callable, Mapping, Sequence

import keras

from keras_deit.core.errors import InputError
from keras_deit.core.files import check_writable, read_json, write_json
from keras_deit.evaluation.evaluate import evaluate_run
from keras_deit.evaluation.seed_processes import run_side_by_side
from keras_deit.evaluation.seed_study import parse_seeds, seeds_text
from keras_deit.studies.definition import StudyDefinition, get_study
from keras_deit.studies.options import study_datasets, study_folder
from keras_deit.studies.pages import html_page, markdown_page
from keras_deit.studies.results import DISAGREEMENT, study_document
from keras_deit.studies.scheduling import Processes, StudyTrainings, next_of
from keras_deit.training import Run
from keras_deit.version import __version__

DOCUMENT = "study.json"


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
        processes = Processes(parallel_seeds, imports, locks)
        by_dataset = {
            dataset: StudyTrainings(study, dataset, scale, folder, numbers, processes, print_fn)
            for dataset in study_datasets(study, scale, datasets)
        }
        run_side_by_side(lambda: next_of(by_dataset.values()), parallel_seeds)
    runs = {dataset: trainings.runs() for dataset, trainings in by_dataset.items()}
    failed = [line for trainings in by_dataset.values() for line in trainings.failed]
    for of_data in runs.values():
        failed += compare_answers(study, of_data, print_fn)
    document = study_document(study, runs, _conditions(scale, numbers))
    write_json(folder / DOCUMENT, document)
    for suffix, page in {"md": markdown_page, "html": html_page}.items():
        (folder / f"study.{suffix}").write_text(page(document, command), "utf-8")
    if failed:
        raise InputError(f"{len(failed)} parts of {folder} have failed: {'; '.join(failed)}")
    return document


def compare_answers(
    study: StudyDefinition,
    runs: Mapping[str, Mapping[int, Run]],
    print_fn: Callable[[str], None],
) -> list[str]:
    """Adds the answers of other cells to the disagreement in `evaluation.json` of their runs.

    Args:
        study: the study, whose cells say with which others they are compared.
        runs: finished runs by the name of the cell and the seed.
        print_fn: called with each line for the user.

    Returns:
        What has failed, in a line each.
    """
    failed = []
    for cell in study.cells:
        others = runs.get(cell.compared_with, {}) if cell.compared_with else {}
        for seed, run in runs.get(cell.runs_from, {}).items():
            if seed in others:
                try:
                    _compare(run, others[seed], cell.compared_with, print_fn)
                except InputError as error:
                    failed.append(f"{cell.name}: seed {seed} cannot be compared: {error}")
                    print_fn(failed[-1])
    return failed


def _compare(run: Run, other: Run, name: str, print_fn: Callable[[str], None]) -> None:
    """Adds the answers of another run under a name, unless they are there."""
    stored = read_json(run.evaluation_file, f"{run.evaluation_file} is no evaluation")
    mine = stored.get(DISAGREEMENT, {}).get("names", [])
    if name in mine:
        return
    print_fn(f"{run.path} is compared with {other.path}.")
    found = evaluate_run(str(run.path), compare=[other.path], print_fn=print_fn)[DISAGREEMENT]
    names = [known if known in mine else name for known in found["names"]]
    stored[DISAGREEMENT] = {**found, "names": names}
    write_json(run.evaluation_file, stored)


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
