"""The page `report.html` of a run."""

import os
import pathlib
import time
from collections.abc import Sequence

from keras_deit.core.errors import InputError, first_line
from keras_deit.core.files import atomic_write, check_writable
from keras_deit.core.precision import precision
from keras_deit.core.processes import barrier, is_writer, process_index_and_count
from keras_deit.data import Source
from keras_deit.evaluation.evaluate import evaluate_run
from keras_deit.evaluation.measuring import Answers
from keras_deit.evaluation.mistakes import Mistake, most_confident_mistakes, with_pictures
from keras_deit.evaluation.page import Contents, page
from keras_deit.evaluation.predictions import Predictor
from keras_deit.training import Job, Run, load_run, make_job, train_job

MAX_IMAGES = 30
# The answers of these rows are not beside every image, which has them of the final weights.
_NOT_ON_CARDS = ("class, EMA", "distillation, EMA")


def write_report(
    run_dir: str | os.PathLike,
    compare: Sequence[str | os.PathLike] = (),
    images: int = MAX_IMAGES,
    batch_size: int = 64,
    evaluate: bool = True,
    print_fn=print,
) -> pathlib.Path:
    """Writes the page of a finished run, `report.html` in its directory.

    The reported split is evaluated in one pass, of the final weights, their moving average and the
    teacher together, and the validation split in another one for the temperatures. If that is not
    possible, for example because the data is gone, the page has what the run has recorded.

    Args:
        run_dir: directory of a finished run.
        compare: directories of other runs, whose curves and results the page shows too.
        images: the most images of which the model is wrong to show.
        batch_size: images at a time.
        evaluate: whether to evaluate the run; otherwise the page has what it has recorded.
        print_fn: called with each line for the user.

    Returns:
        The path of the page.

    Raises:
        InputError: a directory is not that of a run, the run is not finished, or the page cannot be
            written.
    """
    run = load_run(run_dir)
    summary = run.summary
    if summary is None:
        raise InputError(f"{run.path} is not finished: its training has to end before its report.")
    compared = _by_name([load_run(path) for path in compare])
    check_writable(run.report_file)
    found, notes = _Found(run, images), []
    evaluation = {}
    if evaluate:
        try:
            evaluation = evaluate_run(
                *(run.path,),
                batch_size=batch_size,
                print_fn=print_fn,
                keep=found.keep,
                write=True,
            )
        except InputError as error:
            notes.append(f"The run could not be evaluated again: {error}")
            print_fn(f"{notes[0]} The page has what the run has recorded.")
    contents = Contents(run, summary, evaluation, found.mistakes, "fused", compared, notes)
    text = page(contents)
    with atomic_write(run.report_file) as partial:
        partial.write_text(text, "utf-8")
    return run.report_file


def train(print_fn=print, start: float | None = None, **options) -> Run:
    """Trains a model, exactly as the command `keras-deit train` does, and writes its page.

    Args:
        print_fn: called with each line for the user.
        start: time of `time.monotonic()` from which `minutes` count; None for now.
        **options: any flag of the command by its name, such as `dataset="folder:PATH"`,
            `model="deit_tiny_patch16_224"`, `recipe="digits"`, `epochs=30`, `run_dir="runs/mine"`.

    Returns:
        The finished run: `summary`, `history`, `model()`; its directory holds `report.html`.

    Raises:
        InputError: there is no such option, or what `train_job` raises.
    """
    start = time.monotonic() if start is None else start
    return train_with_report(make_job(**options), options.get("run_dir"), print_fn, start)


def train_with_report(
    job: Job, run_dir: str | None = None, print_fn=print, start: float | None = None
) -> Run:
    """Trains as `train_job` does, and writes the page of the run unless it has one already.

    A page that cannot be written is one line: the run is finished all the same.
    """
    run = train_job(job, run_dir, print_fn, start)
    if is_writer() and not _has_report(run):
        alone = process_index_and_count()[1] == 1
        try:
            # Other processes do not take part any more, so a run of several has what it recorded.
            write_report(run.path, evaluate=alone, print_fn=lambda line: None)
        except Exception as error:
            print_fn(
                f"{run.report_file} could not be written ({type(error).__name__}: "
                f"{first_line(error)}); the run is finished."
            )
    barrier("report")
    return run


class _Found:
    """Keeps of the answers of an evaluation what the page shows."""

    def __init__(self, run: Run, images: int):
        self.mistakes: list[Mistake] = []
        self._run, self._images = run, images

    def keep(self, answers: Answers, source: Source) -> None:
        rows = {n: v for n, v in answers.by_title.items() if n not in _NOT_ON_CARDS}
        chosen = most_confident_mistakes(
            answers.labels, rows, "fused", answers.indices, self._images
        )
        with precision("float32"):
            self.mistakes = with_pictures(chosen, source, Predictor(self._run.path))


def _has_report(run: Run) -> bool:
    """Returns whether the page is newer than the result."""
    if not run.report_file.is_file():
        return False
    return run.report_file.stat().st_mtime_ns >= run.summary_file.stat().st_mtime_ns


def _by_name(runs: Sequence[Run]) -> dict[str, Run]:
    """Returns runs by the shortest names that tell them apart."""
    names = [run.path.resolve().name for run in runs]
    return {
        name if names.count(name) == 1 else str(run.path): run
        for name, run in zip(names, runs, strict=True)
    }
