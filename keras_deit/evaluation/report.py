"""The page `report.html` of a run: what is measured for it, kept, and written again."""

import contextlib
import os
import pathlib
import time
from collections.abc import Sequence

from keras_deit.core.errors import InputError, corrupt_as_input_error, first_line
from keras_deit.core.files import atomic_write, check_writable, read_json, user_path, write_json
from keras_deit.core.precision import precision
from keras_deit.core.processes import is_writer, process_index_and_count
from keras_deit.data import Dataset, Source
from keras_deit.evaluation.comparing import runs_by_name
from keras_deit.evaluation.evaluate import (
    evaluate_run,
    evaluation_of,
    skipping,
)
from keras_deit.evaluation.measuring import Answers, answer, rows_model, some_images
from keras_deit.evaluation.mistakes import (
    Mistake,
    mistake_from,
    most_confident_mistakes,
    with_pictures,
)
from keras_deit.evaluation.page import Contents, page, split_of
from keras_deit.evaluation.predictions import Predictor
from keras_deit.models import Classifier
from keras_deit.objectives import Objective
from keras_deit.objectives.scoring import Scores
from keras_deit.training import (
    InputPipeline,
    Job,
    Run,
    load_run,
    make_job,
    score_split,
    train_job,
)

_MAX_IMAGES = 30
# The row whose mistakes are shown: what is served.
_MISTAKEN = "fused"
# What these rows say is not beside every image, because it has the answers of the final weights.
_NOT_ON_CARDS = ("class, EMA", "distillation, EMA")


def write_report(
    run_dir: str | os.PathLike,
    compare: Sequence[str | os.PathLike] = (),
    output: str | os.PathLike | None = None,
    evaluate: bool = False,
    batch_size: int = 64,
    print_fn=print,
) -> pathlib.Path:
    """Writes the page of a finished run.

    A training leaves what the page shows in `evaluation.json` and `mistakes.json`. Where they are
    missing or of other weights, the run is evaluated: the reported split in one pass, of the final
    weights, their moving average and the teacher together, and the validation split in another one
    for the temperatures. If that is not possible, for example because the data is gone, the page
    has what the run has recorded.

    Args:
        run_dir: directory of a finished run.
        compare: directories of other runs, whose curves and results the page shows too.
        output: HTML file to write; None for `report.html` in the directory.
        evaluate: whether to evaluate the run in any case.
        batch_size: images at a time of an evaluation.
        print_fn: called with each line for the user.

    Returns:
        The path of the page.

    Raises:
        InputError: a directory is not that of a run, the run is not finished, or the page cannot be
            written.
    """
    run = load_run(run_dir)
    if run.summary is None:
        raise InputError(f"{run.path} is not finished: its training has to end before its report.")
    compared = runs_by_name(compare)
    path = run.report_file if output is None else user_path(output)
    check_writable(path)
    found, notes = None if evaluate else _stored(run), []
    if found is None:
        try:
            found = _evaluated(run, compared, batch_size, print_fn)
        except InputError as error:
            notes.append(f"The run could not be evaluated again: {error}")
            print_fn(f"{notes[0]} The page has what the run has recorded.")
    return _write(run, path, *(found or ({}, [])), compared, notes)


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
    job, run_dir = make_job(**options), options.get("run_dir")
    return train_with_report(job, run_dir, print_fn, start, training_command(options))


def train_with_report(
    job: Job,
    run_dir: str | None = None,
    print_fn=print,
    start: float | None = None,
    command: Sequence[str] | None = None,
) -> Run:
    """Trains as `train_job` does, and writes the page of the run unless it has one already.

    The passes that score the trained weights also give what the page shows. A page that cannot be
    written is one line: the run is finished all the same.
    """
    scoring = _Scoring()
    run = train_job(job, run_dir, print_fn, start, scoring, command)
    if not is_writer() or _has_report(run):
        return run
    try:
        if process_index_and_count()[1] > 1:
            # The other processes take no part any more: the page has what is recorded.
            _write(run, run.report_file, {}, [])
        elif scoring.student is None:
            write_report(run.path, print_fn=lambda line: None)
        else:
            _write(run, run.report_file, *scoring.found(run))
    except Exception as error:
        print_fn(
            f"The run is finished, but its {run.report_file.name} could not be written: "
            f"{type(error).__name__}, {first_line(error)}"
        )
    return run


def training_command(options: dict) -> list[str]:
    """Returns the command that does the same as a call of `train`."""
    flags = []
    for name, value in options.items():
        if isinstance(value, bool):
            flags.append(f"--{name}" if value else f"--no{name}")
        elif value is not None:
            values = value if isinstance(value, (list, tuple)) else [value]
            separator = "x" if name.endswith("image_size") else ","
            flags.append(f"--{name}={separator.join(map(str, values))}")
    return ["keras-deit", "train", *flags]


class _Scoring:
    """Scores the models of a training like `score_split`, and keeps what they answer.

    Attributes:
        student: the model; None if nothing was kept, because the objective computes its own scores
            or several processes share the images.
    """

    def __init__(self):
        self.student: Classifier | None = None

    def __call__(
        self,
        objective: Objective,
        student: Classifier,
        splits: Dataset,
        split: str,
        pipeline: InputPipeline,
        batch_size: int,
        title: str | None = None,
    ) -> Scores:
        if objective.validates_features or process_index_and_count()[1] > 1:
            return score_split(objective, student, splits, split, pipeline, batch_size, title)
        if self.student is None:
            self.student = student
            # For the moving average, whose weights are assigned to the model, it is the same.
            self._rows = rows_model({"scores": student}, objective.teacher)
            self._answers, self._calibration = {}, {}
            self._data, self._split, self._pipeline = splits, split, pipeline
        name = "ema_scores" if self._answers else "scores"
        source = getattr(splits, split)
        answers = answer(self._rows, source, pipeline, batch_size, title or split)
        self._answers[name] = self._calibration[name] = answers
        if split != "validation":
            self._calibration[name] = answer(
                self._rows, splits.validation, skipping(pipeline), batch_size, "validation"
            )
        return answers.scores["scores"]

    def found(self, run: Run) -> tuple[dict, list[Mistake]]:
        """Returns figures and mistakes of the run, and keeps them in its directory."""
        config = run.config
        answers, calibration = map(_together, (self._answers, self._calibration))
        source = getattr(self._data, self._split)
        view = config["crop_ratio"], config["interpolation"]
        predictor = Predictor(self.student, None, "final", config["class_names"], *view)
        mistakes = _mistakes(answers, source, predictor)
        evaluation = {
            "split": self._split,
            "examples": len(source),
            **evaluation_of(
                *(answers, calibration, config["class_names"], self.student),
                *(some_images(source, self._pipeline), None, lambda line: None),
            ),
            "data": config["data"],
            "of_run": True,
        }
        write_json(run.evaluation_file, evaluation)
        _keep(run, mistakes)
        return evaluation, mistakes


def _together(answers: dict[str, Answers]) -> Answers:
    """Returns answers of several models to the same images as one."""
    first = next(iter(answers.values()))
    rows = {name: each.rows["scores"] for name, each in answers.items()}
    return Answers(rows, first.labels, first.indices, first.images_per_second)


def _evaluated(
    run: Run, compared: dict[str, Run], batch_size: int, print_fn
) -> tuple[dict, list[Mistake]]:
    """Returns figures and mistakes of a run by evaluating it, and keeps them in its directory."""
    mistakes = []

    def keep(answers: Answers, source: Source) -> None:
        with precision(run.config["run"].get("mixed_precision", "float32")):
            mistakes.extend(_mistakes(answers, source, Predictor(run.path)))

    classes = {*run.config["class_names"]}
    others = [r.path for r in compared.values() if {*r.config["class_names"]} == classes]
    evaluation = evaluate_run(
        *(run.path,),
        batch_size=batch_size,
        print_fn=print_fn,
        write=True,
        keep=keep,
        compare=others,
    )
    _keep(run, mistakes)
    return evaluation, mistakes


def _mistakes(answers: Answers, source: Source, predictor: Predictor) -> list[Mistake]:
    rows = {name: v for name, v in answers.by_title.items() if name not in _NOT_ON_CARDS}
    chosen = most_confident_mistakes(answers.labels, rows, _MISTAKEN, answers.indices, _MAX_IMAGES)
    return with_pictures(chosen, source, predictor)


def _keep(run: Run, mistakes: list[Mistake]) -> None:
    values = {"weights": _weights_of(run), "images": [each.as_json() for each in mistakes]}
    # Of a run in a directory that cannot be written the page goes elsewhere.
    with contextlib.suppress(PermissionError):
        write_json(run.mistakes_file, values)


def _stored(run: Run) -> tuple[dict, list[Mistake]] | None:
    """Returns figures and mistakes from the directory of a run; None if they are not its own."""
    files = (run.evaluation_file, run.mistakes_file)
    if not all(file.is_file() for file in files):
        return None
    with contextlib.suppress(InputError), corrupt_as_input_error("corrupt"):
        evaluation, kept = (read_json(file, "corrupt") for file in files)
        is_own = kept["weights"] == _weights_of(run)
        if is_own and evaluation["split"] == split_of(run.summary):
            return evaluation, [mistake_from(values) for values in kept["images"]]
    return None


def _weights_of(run: Run) -> str | None:
    """Returns what identifies the final weights; None for runs of earlier versions."""
    return (run.summary.get("digests") or {}).get(run.final_weights.name)


def _write(
    run: Run,
    path: pathlib.Path,
    evaluation: dict,
    mistakes: list[Mistake],
    compared: dict[str, Run] | None = None,
    notes: Sequence[str] = (),
) -> pathlib.Path:
    """Writes the page and returns its path."""
    contents = Contents(run, run.summary, evaluation, mistakes, _MISTAKEN, compared or {}, notes)
    with corrupt_as_input_error(f"The files of {run.path} hold other values than a run's"):
        text = page(contents)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        partial.write_text(text, "utf-8")
    return path


def _has_report(run: Run) -> bool:
    """Returns whether the page is newer than the result."""
    if not run.report_file.is_file():
        return False
    return run.report_file.stat().st_mtime_ns >= run.summary_file.stat().st_mtime_ns
