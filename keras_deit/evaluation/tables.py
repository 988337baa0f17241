"""The figures of an evaluation as tables on the screen."""

from keras_deit.core.errors import corrupt_as_input_error
from keras_deit.evaluation.measuring import SUFFIXES
from keras_deit.objectives.scoring import Scores
from keras_deit.training import Run

_TITLES = {
    "teacher": "teacher",
    "class": "class head",
    "distillation": "distillation head",
    "fused": "fused",
}
# A difference in top-1 between student and teacher that the report mentions.
_FAR_FROM_TEACHER = 0.03
_FIGURES = {"top1": "top-1", "agreement": "agreement with teacher"}
# Title, key and width of the columns of figures.
_COLUMNS = (
    ("top-5", "top5", 8),
    ("balanced", "balanced_accuracy", 10),
    ("log loss", "log_loss", 10),
    ("ECE", "ece", 8),
    ("AUC", "macro_auc", 8),
)


def result_table(result: dict) -> str:
    """Returns the result of an evaluation by row, as lines of text of 100 columns at most.

    Args:
        result: as `evaluate_run` or `evaluate_weights` returns it. Without figures it is the table
            of the scores alone.
    """
    if not result.get("figures"):
        return score_table(result["scores"], result.get("ema_scores"))
    rows = result["figures"]
    titles = {row: row_title(row) for row in rows}
    width = max(map(len, titles.values()))
    agreements = _agreements(result)
    header = f"{'':{width}}{'top-1':>8}{'95 % interval':>15}"
    header += "".join(f"{title:>{columns}}" for title, _, columns in _COLUMNS)
    lines = [header + (f"{'agreement':>11}" if agreements else "")]
    for row, figures in rows.items():
        interval = "{:.4f}-{:.4f}".format(*figures["top1_interval"])
        cells = f"{titles[row]:{width}}{figures['top1']:8.4f}{interval:>15}"
        for _, key, columns in _COLUMNS:
            cells += f"{figures[key]:{columns}.4f}" if key in figures else f"{'-':>{columns}}"
        if agreements:
            cells += f"{agreements[row]:11.4f}" if row in agreements else f"{'-':>11}"
        lines.append(cells)
    return "\n".join(lines)


def disagreement_table(found: dict) -> str:
    """Returns the share of images on which each two classifiers differ, as lines of text.

    Args:
        found: as `disagreement` returns it.
    """
    names = found["names"]
    width = max(map(len, names))
    header = "".join(f"{name:>{max(8, len(name) + 2)}}" for name in names)
    lines = [f"Share of images with different answers:\n{'':{width}}{header}"]
    for name, row in zip(names, found["matrix"], strict=True):
        cells = (f"{v:{max(8, len(n) + 2)}.4f}" for n, v in zip(names, row, strict=True))
        lines.append(f"{name:{width}}{''.join(cells)}")
    return "\n".join(lines)


def row_title(row: str) -> str:
    """Returns the name of a row as it is shown, such as "class head, EMA"."""
    head, comma, suffix = row.partition(",")
    return _TITLES.get(head, head) + comma + suffix


def _agreements(result: dict) -> dict[str, float]:
    """Returns the agreement with the teacher by row, if there is a teacher."""
    found = {}
    for scores, suffix in SUFFIXES.items():
        for head, row in result.get(scores, {}).items():
            if "agreement" in row:
                found[head + suffix] = row["agreement"]
    return found


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
    if run.report_file.is_file():
        lines.append(f"Its page: {run.report_file}")
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
