"""Evaluating a finished run."""

import dataclasses

from keras_deit.core.errors import InputError
from keras_deit.core.precision import precision
from keras_deit.data import Dataset, load_dataset, take_examples
from keras_deit.objectives.scoring import Scores
from keras_deit.training import (
    InputPipeline,
    Run,
    load_run,
    objective_from,
    score_split,
    teacher_of_run,
)

SPLITS = ("validation", "test")

_TITLES = {
    "teacher": "teacher",
    "class": "class head",
    "distillation": "distillation head",
    "fused": "fused",
}
_FIGURES = {"top1": "top-1", "agreement": "agreement with teacher"}


def evaluate_run(run_dir: str, split: str = "test", batch_size: int = 64, print_fn=print) -> dict:
    """Evaluates the final model of a run on a split of its data.

    Args:
        run_dir: of a finished run.
        split: "validation" or "test".
        batch_size: images at a time.
        print_fn: called with each line for the user.

    Returns:
        `scores` as in the summary of the run, the number of `examples` and, if the run has a moving
        average of its weights, the `ema_scores` of that.

    Raises:
        InputError: there is no such split, or the run is not finished.
    """
    if split not in SPLITS:
        raise InputError(f"split should be one of {', '.join(SPLITS)}. Received: {split!r}")
    run = load_run(run_dir)
    config = run.config
    identity = config["run"]
    with precision(identity.get("mixed_precision", "float32")):
        models = {"scores": run.model()}
        if run.ema_weights.is_file():
            models["ema_scores"] = run.model("ema")
        image_format = models["scores"].image_format
        objective = objective_from(identity)
        if objective.teacher_request is not None:
            teacher = teacher_of_run(config, objective.teacher_request, image_format)
            if teacher is None:
                print_fn(f"The teacher {config['teacher']} does not exist any more; no agreement.")
            objective.use_teacher(teacher)
        dataset = _dataset(identity, config["data_dir"])
        pipeline = InputPipeline(
            image_format, dataset.num_classes, config["crop_ratio"], config["interpolation"]
        )
        scores = {
            name: score_split(objective, model, dataset, split, pipeline, batch_size)
            for name, model in models.items()
        }
    return {"examples": len(getattr(dataset, split)), **scores}


def _dataset(identity: dict, data_dir: str | None) -> Dataset:
    dataset, examples = load_dataset(identity["dataset"], data_dir), identity.get("train_examples")
    if examples is None:
        return dataset
    return dataclasses.replace(dataset, train=take_examples(dataset.train, examples))


def score_table(scores: Scores, ema: Scores | None = None) -> str:
    """Returns the figures by row, as lines of text.

    Args:
        scores: of the trained weights: figures by the name of the row, such as a head.
        ema: of their moving average, if there is one; it gets rows of its own.
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
    """Returns the result of a finished run: its table, its speed and its directory."""
    summary = run.summary
    table = score_table(summary["test"], summary.get("test_ema"))
    lines = [f"Test split, {summary['test_examples']} images:", table]
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
