"""Evaluating a finished run."""

import dataclasses
import functools
from collections.abc import Callable

from keras_deit.core.errors import InputError, corrupt_as_input_error
from keras_deit.core.files import write_json
from keras_deit.core.precision import precision
from keras_deit.data import (
    MAX_IMAGE_PIXELS,
    BadImages,
    Dataset,
    Relabeled,
    Source,
    load_dataset,
    take_examples,
)
from keras_deit.evaluation.measuring import Answers, answer, figures_of, rows_model
from keras_deit.models import Classifier
from keras_deit.objectives import Objective
from keras_deit.objectives.scoring import Scores
from keras_deit.pretrained.own_weights import RUN_WEIGHTS
from keras_deit.training import (
    InputPipeline,
    Run,
    data_summary,
    load_run,
    objective_from,
    score_split,
    teacher_of_run,
)
from keras_deit.training.run import flatten

SPLITS = ("validation", "test")

_TITLES = {
    "teacher": "teacher",
    "class": "class head",
    "distillation": "distillation head",
    "fused": "fused",
}
# Figures are stored with six digits.
_SAME_FIGURE = 1.5e-6
# A difference in top-1 between student and teacher that the report mentions.
_FAR_FROM_TEACHER = 0.03
_FIGURES = {"top1": "top-1", "agreement": "agreement with teacher"}


def evaluate_run(
    run_dir: str,
    split: str | None = None,
    batch_size: int = 64,
    weights: str | None = None,
    dataset: str | None = None,
    on_bad_image: str | None = None,
    max_image_pixels: int | None = None,
    print_fn=print,
    write: bool = False,
    keep: Callable[[Answers, Source], None] | None = None,
) -> dict:
    """Evaluates the model of a run on a split of its data, or of other data with its classes.

    Args:
        run_dir: directory of a finished run.
        split: "validation" or "test"; None for the test split, or for the validation split of data
            without one.
        batch_size: number of images at a time.
        weights: "final", "best" or "ema", see `Run.model`; None for the final weights and, if the
            run has it, their moving average.
        dataset: name of the data, as for a training; None for the data of the run. Its classes are
            matched by name.
        on_bad_image: "fail" or "skip" for images that cannot be read; None for what the run did.
        max_image_pixels: the most pixels of an image that is decoded; None for that of the run.
        print_fn: function that is called with each line for the user.
        write: whether to write the result into `evaluation.json` of the run, if it is that of its
            final weights on the reported split of its own, unchanged data; otherwise a line says
            that it is not.
        keep: called with the answers of the heads to all images, and their source, unless the
            objective computes its own scores from features.

    Returns:
        JSON values: `scores` as in the summary of the run, the `split` and its number of `examples`
        and, if the run has a moving average of its weights, the `ema_scores` of that; what
        identifies the `data`, None for data that are part of a package; if they are not those of
        the training, `data_changes` and `teacher_changes` in words; and, if figures of the same
        split are others than in the summary of the run, `differs_from_summary` with both by name.

        Unless the objective computes its own scores from features, also `images_per_second` of all
        models together, the `class_names`, and by row ("class", "class, EMA", "teacher", ...) the
        `figures`, the figures `per_class`, the `confusion` matrix and the `reliability` bins, see
        `keras_deit.evaluation.figures`. Their temperatures are fitted on the validation split.

    Raises:
        InputError: there is no such split, the run is not finished, or the data has other classes.
    """
    if split not in (None, *SPLITS):
        raise InputError(f"split should be one of {', '.join(SPLITS)}. Received: {split!r}")
    run = load_run(run_dir)
    config, summary = run.config, run.summary or {}
    identity = config["run"]
    notes = {}
    bad_images = BadImages(on_bad_image or config.get("on_bad_image", "fail"))
    with precision(identity.get("mixed_precision", "float32")):
        models = {"scores": run.model(weights or "final")}
        if weights is None and run.ema_weights.is_file():
            models["ema_scores"] = run.model("ema")
        image_format = models["scores"].image_format
        with corrupt_as_input_error(f"{run.path} has a corrupt {run.config_file.name}"):
            objective = objective_from(identity)
        if objective.teacher_request is not None and config["teacher"] is None:
            objective = objective.without_teacher()
        elif objective.teacher_request is not None:
            teacher, note = teacher_of_run(config, objective.teacher_request, image_format)
            if note:
                print_fn(note)
                notes["teacher_changes"] = note
            objective.use_teacher(teacher)
        data = _dataset(
            config, dataset, max_image_pixels or config.get("max_image_pixels", MAX_IMAGE_PIXELS)
        )
        notes["data"] = data_summary(data)
        if dataset is None and (changes := run.changes_of_data(data)):
            print_fn(f"The data has changed since the training: {changes}.")
            notes["data_changes"] = changes
        split = split or data.reported_split
        source = _checked_split(data, split, bad_images.policy)
        pipeline = InputPipeline(
            *(image_format, data.num_classes, config["crop_ratio"], config["interpolation"]),
            bad_images,
        )
        found = _evaluation(objective, models, data, split, pipeline, batch_size, print_fn, keep)
    if bad_images.names:
        print_fn(f"Unreadable images, not counted: {len(bad_images.names)}.")
    changes = {}
    if dataset is None:
        known = {"scores": split, "ema_scores": f"{split}_ema"}
        if weights in RUN_WEIGHTS:
            known = {"scores": {"final": split, "ema": f"{split}_ema"}.get(weights)}
        for name, key in known.items():
            changes |= _changes(summary.get(key), found.get(name), key)
    for figure, (before, now) in changes.items():
        print_fn(f"{figure} was {before:.4f} when the run was finished, and is {now:.4f} now.")
    if changes:
        notes["differs_from_summary"] = changes
    result = {"split": split, "examples": len(source), **found, **notes}
    if write:
        is_own = weights is None and dataset is None and "data_changes" not in notes
        _write(run, result, is_own and split == data.reported_split, print_fn)
    return result


def _evaluation(
    objective: Objective,
    models: dict[str, Classifier],
    data: Dataset,
    split: str,
    pipeline: InputPipeline,
    batch_size: int,
    print_fn: Callable[[str], None],
    keep: Callable[[Answers, Source], None] | None,
) -> dict:
    """Returns the scores of the models, and the figures of their heads if these are logits."""
    if objective.validates_features:
        return {
            name: score_split(objective, model, data, split, pipeline, batch_size)
            for name, model in models.items()
        }
    measure = functools.partial(answer, rows_model(models, objective.teacher))
    answers = measure(getattr(data, split), pipeline, batch_size, split)
    if keep is not None:
        keep(answers, getattr(data, split))
    calibration = answers
    if split != "validation":
        # What is unreadable there does not matter here.
        other = dataclasses.replace(pipeline, bad_images=BadImages("skip"))
        calibration = measure(data.validation, other, batch_size, "validation")
    return {
        "images_per_second": round(answers.images_per_second, 1),
        "class_names": list(data.class_names),
        **answers.scores,
        **figures_of(answers, calibration, data.class_names, print_fn),
    }


def _write(run: Run, result: dict, is_own: bool, print_fn: Callable[[str], None]) -> None:
    """Writes the figures into the directory of a run, if they are those of the run itself."""
    if not is_own:
        print_fn(
            f"{run.evaluation_file.name} in the run directory is left as it is: it is for the "
            "final weights on the reported split of the run's own data."
        )
        return
    try:
        write_json(run.evaluation_file, result)
    except PermissionError as error:
        print_fn(f"{run.evaluation_file} cannot be written: {error.strerror}.")


def _changes(before: Scores | None, now: Scores | None, key: str) -> dict[str, tuple]:
    """Returns the figures of a summary that are others now: both by their name."""
    before, now = flatten(before or {}), flatten(now or {})
    return {
        f"{key} {name}": (before[name], now[name])
        for name in sorted(before.keys() & now.keys())
        if not abs(before[name] - now[name]) <= _SAME_FIGURE
    }


def _checked_split(data: Dataset, split: str, policy: str) -> Source:
    source = getattr(data, split)
    if source is None:
        raise InputError(f"{data.name} has no {split} split.")
    if policy == "fail" and hasattr(source, "check"):
        source.check()
    return source


def _dataset(config: dict, name: str | None, max_pixels: int) -> Dataset:
    """Returns the data with the class indices of the run."""
    identity = config["run"]
    examples = identity.get("train_examples") if name is None else None
    share = identity.get("test_share") if name is None else None
    # What is unreadable in other splits does not matter here.
    data = load_dataset(name or identity["dataset"], config["data_dir"], "skip", share, max_pixels)
    if examples is not None:
        data = dataclasses.replace(data, train=take_examples(data.train, examples))
    wanted = config["class_names"]
    if list(data.class_names) == wanted:
        return data
    different = sorted({*wanted} ^ {*data.class_names})
    if different or len(wanted) != data.num_classes:
        raise InputError(
            f"{data.name} has other classes than the run. Only one of the two has: "
            f"{', '.join(different[:10])}."
        )
    new_labels = [wanted.index(class_name) for class_name in data.class_names]
    sources = {split: Relabeled(getattr(data, split), new_labels) for split in data.examples}
    return dataclasses.replace(data, class_names=tuple(wanted), **sources)


def score_table(scores: Scores, ema: Scores | None = None) -> str:
    """Returns the figures by row, as lines of text.

    Args:
        scores: scores of the trained weights: figures by the name of the row, such as a head.
        ema: scores of their moving average, if there is one; it gets rows of its own.
    """
    names = [*_TITLES, *(name for name in scores if name not in _TITLES)]
    rows = [(_TITLES.get(name, name), scores[name]) for name in names if name in scores]
    averaged = {name: row for name, row in (ema or {}).items() if name != "teacher"}
    rows += [(f"{_TITLES.get(n, n)}, EMA", averaged[n]) for n in names if n in averaged]
    figures = list(dict.fromkeys(figure for _, row in rows for figure in row))
    titles = [_FIGURES.get(figure, figure) for figure in figures]
    widths = [max(8, len(title) + 4 * (index > 0)) for index, title in enumerate(titles)]
    width = 26 if ema else 20
    columns = list(zip(figures, widths, strict=True))
    lines = [" " * width + "".join(f"{t:>{w}}" for t, w in zip(titles, widths, strict=True))]
    for label, row in rows:
        cells = (f"{row[f]:.4f}" if f in row else "-" for f in figures)
        lines.append(
            f"{label:{width}}"
            + "".join(f"{c:>{w}}" for c, (_, w) in zip(cells, columns, strict=True))
        )
    return "\n".join(lines)


def final_report(run: Run) -> str:
    """Returns the result of a finished run: its table, its speed and its directory.

    Raises:
        InputError: `summary.json` is corrupt.
    """
    with corrupt_as_input_error(f"{run.path} has a corrupt {run.summary_file.name}"):
        return _report_of(run, run.summary)


def _report_of(run: Run, summary: dict) -> str:
    split = "test" if "test" in summary else "validation"
    table = score_table(summary[split], summary.get(f"{split}_ema"))
    lines = [f"{split.capitalize()} split, {summary[f'{split}_examples']} images:", table]
    lines += _comparison(summary[split])
    if summary["median_step_ms"] is not None:
        lines.append(
            f"Median step {summary['median_step_ms']} ms, {summary['images_per_second']} images/s."
        )
    if summary["skipped_steps"]:
        lines.append(f"Skipped steps with non-finite gradients: {summary['skipped_steps']}.")
    if summary["bad_images"]:
        lines.append(f"Unreadable images, listed in summary.json: {len(summary['bad_images'])}.")
    lines.append(f"Run directory: {run.path}")
    return "\n".join(lines)


def _comparison(scores: Scores) -> list[str]:
    """Returns a line if student and teacher are far from each other."""
    if "teacher" not in scores or "top1" not in scores.get("fused", {}):
        return []
    difference = scores["teacher"]["top1"] - scores["fused"]["top1"]
    if difference > _FAR_FROM_TEACHER:
        return [
            f"The teacher is better by {100 * difference:.1f} points: the student needs more steps "
            "or a larger model, or serve the teacher."
        ]
    if difference < -_FAR_FROM_TEACHER:
        return [
            f"The teacher is worse by {-100 * difference:.1f} points: the student may learn more "
            "without it (--distillation none)."
        ]
    return []
