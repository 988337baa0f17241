"""The page of a run: its sections, each made of what the run has."""

import dataclasses
import importlib.resources
import pathlib
import shlex
import string
from collections.abc import Sequence

from keras_deit.core.names import printable
from keras_deit.evaluation.charts import Line, line_chart
from keras_deit.evaluation.evaluation_sections import (
    MOST_CLASSES_SHOWN,
    calibration,
    classes,
    confusions,
    disagreement,
    inside,
    mistake_cards,
)
from keras_deit.evaluation.html_parts import folded, section, table, text, values_table
from keras_deit.evaluation.measuring import ROWS, SUFFIXES
from keras_deit.evaluation.mistakes import Mistake
from keras_deit.evaluation.tables import row_title
from keras_deit.training.run import Run, flatten
from keras_deit.version import __version__

_TEMPLATE = "report.html.template"
_EMA = SUFFIXES["ema_scores"]
_FIGURES = {
    "top1": "top-1",
    "top5": "top-5",
    "balanced_accuracy": "balanced accuracy",
    "agreement": "agreement with teacher",
    "macro_auc": "AUC",
    "macro_f1": "F1",
    "macro_precision": "precision",
    "macro_recall": "recall",
    "log_loss": "log loss",
    "ece": "ECE",
    "temperature": "temperature",
    "ece_scaled": "ECE, scaled",
}
# Of a column of metrics.csv, the chart that it belongs to and its color there.
_CURVES = {
    "loss": ("Loss", "loss", 0),
    "class_loss": ("Loss", "class head", 1),
    "distillation_loss": ("Loss", "distillation head", 2),
    "accuracy": ("Accuracy", "fused", 0),
    "class_accuracy": ("Accuracy", "class head", 1),
    "distillation_accuracy": ("Accuracy", "distillation head", 2),
    "balanced_accuracy": ("Accuracy", "balanced", 3),
    "agreement": ("Agreement with the teacher", "agreement", 0),
    "learning_rate": ("Learning rate", "learning rate", 0),
}
# Of the compared runs a chart has this figure alone.
_MAIN = ("loss", "accuracy", "agreement", "learning_rate")


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a page shows.

    Attributes:
        run: the run.
        summary: its `summary.json`.
        evaluation: figures in the form of `evaluation.json`; keys of what the run has not are
            absent.
        mistakes: images with wrong answers, the most confident first.
        mistaken_row: the head that makes them.
        compared: runs whose curves and results are shown too, by their names.
        notes: sentences about what is not shown.
    """

    run: Run
    summary: dict
    evaluation: dict
    mistakes: Sequence[Mistake] = ()
    mistaken_row: str = ""
    compared: dict[str, Run] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()


def page(contents: Contents) -> str:
    """Returns the page as HTML that needs no other file and no network."""
    evaluation = contents.evaluation
    names = evaluation.get("class_names") or contents.run.config["class_names"]
    mistakes = mistake_cards(
        *(contents.mistakes, contents.mistaken_row, names, evaluation.get("split", "test"))
    )
    parts = {
        "result": ("Result", _result(contents)),
        "compared": ("Compared runs", _compared(contents)),
        "curves": ("Curves", _curves(contents)),
        "confusion": ("Confusion", confusions(evaluation, names)),
        "classes": ("Classes", classes(evaluation)),
        "calibration": ("Calibration", calibration(evaluation)),
        "mistakes": ("Most confident mistakes", mistakes),
        "disagreement": ("Disagreement", disagreement(evaluation)),
        "inside": ("Inside the model", inside(evaluation)),
        "recipe": ("Recipe", _recipe(contents)),
        "machine": ("Machine and speed", _machine(contents)),
        "data": ("Data", _data(contents)),
        "reproduce": ("Reproduce", _reproduce(contents)),
    }
    name = contents.run.path.resolve().name
    model = contents.run.config["model"].get("name", "A model")
    return filled_page(
        title=f"{name}: report of a run",
        name=name,
        subtitle=f"{model} on {printable(contents.run.config['run']['dataset'])}",
        lead=_lead(contents),
        parts=parts,
        footer=f"Written by keras-deit {__version__} from {contents.run.path.resolve()}.",
    )


def filled_page(
    title: str, name: str, subtitle: str, lead: str, parts: dict[str, tuple[str, str]], footer: str
) -> str:
    """Returns a page with the style of this package, as HTML that needs no other file.

    Args:
        title: title of the window.
        name: the heading.
        subtitle: text below it.
        lead: HTML before the contents.
        parts: title and HTML of each section by its key; those without HTML are left out.
        footer: text at the end.
    """
    shown = {key: (title, content) for key, (title, content) in parts.items() if content}
    links = "".join(f'<li><a href="#{key}">{text(t)}</a></li>' for key, (t, _) in shown.items())
    file = importlib.resources.files("keras_deit.evaluation") / _TEMPLATE
    return string.Template(file.read_text("utf-8")).substitute(
        title=text(title),
        name=text(name),
        subtitle=text(subtitle),
        generator=text(f"keras-deit {__version__}"),
        lead=lead,
        contents=links,
        sections="\n".join(section(key, *part) for key, part in shown.items()),
        footer=text(footer),
    )


def split_of(summary: dict) -> str:
    """Returns the split of the scores in a summary."""
    return "test" if "test" in summary else "validation"


def scores_by_row(summary: dict) -> dict[str, dict[str, float]]:
    """Returns the scores of a summary by row, those of the moving average under names with EMA."""
    split = split_of(summary)
    averaged = summary.get(f"{split}_ema") or {}
    rows = {**summary[split], **{f"{n}{_EMA}": s for n, s in averaged.items() if n != "teacher"}}
    order = {name: place for place, name in enumerate(ROWS)}
    return dict(sorted(rows.items(), key=lambda item: order.get(item[0], len(order))))


def _lead(contents: Contents) -> str:
    """Returns the figures at the top."""
    rows = _rows(contents)
    items = []
    for name in ("fused", f"fused{_EMA}", "teacher", *rows):
        for figure in ("top1", "agreement") if name == "fused" else ("top1",):
            value = rows.get(name, {}).get(figure)
            if value is not None and len(items) < 4:
                title = f"{_FIGURES[figure]}, {row_title(name)}"
                items.append((f"{value:.4f}", title))
    if not items:
        found = flatten(contents.summary[split_of(contents.summary)])
        items = [(f"{value:.4f}", name) for name, value in list(found.items())[:4]]
    items = dict.fromkeys(items)
    return '<ul class="lead">{}</ul>'.format(
        "".join(f"<li><b>{text(value)}</b><span>{text(name)}</span></li>" for value, name in items)
    )


def _rows(contents: Contents) -> dict[str, dict]:
    """Returns the figures of every row: those of the summary and, over them, of an evaluation."""
    scores = scores_by_row(contents.summary)
    figures = contents.evaluation.get("figures", {})
    names = [*scores, *(name for name in figures if name not in scores)]
    return {name: {**scores.get(name, {}), **figures.get(name, {})} for name in names}


def _result(contents: Contents) -> str:
    summary, evaluation, rows = contents.summary, contents.evaluation, _rows(contents)
    split = split_of(summary)
    found = list(dict.fromkeys(figure for row in rows.values() for figure in row))
    found = [*(n for n in _FIGURES if n in found), *(n for n in found if n not in _FIGURES)]
    found = [name for name in found if name != "top1_interval"]
    cells = ([row_title(name), *(_figure(row, f) for f in found)] for name, row in rows.items())
    count = evaluation.get("examples", summary.get(f"{split}_examples"))
    caption = f"{split.capitalize()} split" + (f", {count:,} images" if count else "")
    parts = [table(caption, ["", *(_FIGURES.get(name, name) for name in found)], cells)]
    if "figures" in evaluation:
        parts.append(
            '<p class="muted">The interval of top-1 is that of 95 % (bootstrap). AUC, F1, '
            "precision and recall are means over the classes; log loss is in nats; ECE is the "
            "calibration error of 15 bins, scaled: after a temperature fitted on the validation "
            "split.</p>"
        )
    changed = evaluation.get("differs_from_summary") or {}
    notes = [
        *(evaluation[key] for key in ("data_changes", "teacher_changes") if key in evaluation),
        *(f"{name} was {old:.4f} when the run was finished." for name, (old, _) in changed.items()),
        *contents.notes,
    ]
    return "".join(parts) + "".join(f"<p>{text(note)}</p>" for note in notes)


def _figure(row: dict, name: str):
    value = row.get(name)
    if name == "top1" and "top1_interval" in row:
        low, high = row["top1_interval"]
        return value, f"{low:.4f} to {high:.4f}"
    return value


def _compared(contents: Contents) -> str:
    if not contents.compared:
        return ""
    runs = {"this run": contents.run, **contents.compared}
    rows = []
    for name, run in runs.items():
        summary = run.summary or {}
        scores = scores_by_row(summary) if summary else {}
        rows.append(
            [
                name,
                run.config["model"].get("name"),
                *(scores.get(row, {}).get("top1") for row in ("fused", f"fused{_EMA}", "teacher")),
                scores.get("fused", {}).get("agreement"),
                summary.get("steps"),
                _with_unit(summary.get("images_per_second"), "images/s"),
            ]
        )
    columns = ["run", "model", "top-1, fused", "top-1, fused, EMA", "top-1, teacher"]
    columns += ["agreement with teacher", "steps", "training"]
    return table("Results of the runs on their own test splits", columns, rows)


def _curves(contents: Contents) -> str:
    charts: dict[str, list[Line]] = {}
    for column, points in _columns(contents.run).items():
        name = column.removeprefix("val_")
        chart, title, color = _CURVES.get(name, (name.replace("_", " "), name, 0))
        held_out = column != name
        if name != "learning_rate":
            title += ", validation" if held_out else ", training"
        line = Line(title, points, color, 0 if held_out or name == "learning_rate" else 1)
        charts.setdefault(chart, []).append(line)
    for lines in charts.values():
        lines.sort(key=lambda line: (line.dash, line.color))
    for place, (run_name, run) in enumerate(contents.compared.items()):
        columns = _columns(run)
        for name in _MAIN:
            points = columns.get(f"val_{name}") or columns.get(name)
            if points:
                line = Line(run_name, points, 4 + place, 2 + place % 2)
                charts.setdefault(_CURVES[name][0], []).append(line)
    order = list(dict.fromkeys(chart for chart, _, _ in _CURVES.values()))
    names = [*(n for n in order if n in charts), *(n for n in charts if n not in order)]
    drawn = "".join(line_chart(f"{name} by epoch", charts[name], "epoch") for name in names)
    return f'<div class="charts">{drawn}</div>' if drawn else ""


def _columns(run: Run) -> dict[str, list[tuple[float, float]]]:
    """Returns the points of every column of `metrics.csv`; epochs count from 1."""
    columns: dict[str, list[tuple[float, float]]] = {}
    for place, row in enumerate(run.history):
        epoch = row.pop("epoch", place) + 1
        for name, value in row.items():
            columns.setdefault(name, []).append((epoch, value))
    return columns


def _recipe(contents: Contents) -> str:
    config = contents.run.config
    effective = values_table("What was trained", config.get("effective") or {})
    every = {**flatten(config["run"]), **{f"model.{k}": v for k, v in config["model"].items()}}
    values = values_table("Values other than the defaults, and the model's own", every)
    return effective + folded("All values", values)


def _machine(contents: Contents) -> str:
    environment, summary = contents.run.config.get("environment") or {}, contents.summary
    evaluated = contents.evaluation.get("images_per_second")
    best = summary.get("best") or {}
    values = {
        "started": environment.get("started"),
        "devices": environment.get("devices"),
        "processor": environment.get("processor"),
        "platform": environment.get("platform"),
        "Python": environment.get("python"),
        "median step": _with_unit(summary.get("median_step_ms"), "ms"),
        "training": _with_unit(summary.get("images_per_second"), "images/s"),
        "evaluation": _with_unit(evaluated, "images/s"),
        "steps": summary.get("steps"),
        "skipped steps": summary.get("skipped_steps"),
        "checkpoints": summary.get("checkpoints"),
        "best epoch": best.get("epoch") is not None and best["epoch"] + 1,
    }
    values = {name: value for name, value in values.items() if value is not False}
    return values_table("Machine and speed", values) + values_table(
        "Versions", environment.get("versions") or {}
    )


def _with_unit(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{value:,.4g} {unit}"


def _data(contents: Contents) -> str:
    config, summary = contents.run.config, contents.summary
    bad = summary.get("bad_images") or []
    values = {
        "dataset": printable(config["run"]["dataset"]),
        "folder of prepared data": config["data_dir"],
        "images": config.get("examples"),
        "classes": len(config["class_names"]),
        "class names": config["class_names"][:MOST_CLASSES_SHOWN],
        **{f"fingerprint, {name}": value for name, value in (config.get("data") or {}).items()},
        "changes that were accepted": config.get("accepted_data_changes"),
        "evaluation view": f"crop ratio {config['crop_ratio']:g}, {config['interpolation']}",
        "unreadable images": len(bad) or None,
        "names of unreadable images": bad[:MOST_CLASSES_SHOWN] or None,
    }
    return values_table("Data", values)


def _reproduce(contents: Contents) -> str:
    command = (contents.run.config.get("environment") or {}).get("command")
    if not command:
        return ""
    program, *arguments = command
    if program.endswith(".py"):
        arguments, program = [program, *arguments], "python"
    shown = shlex.join([pathlib.PurePath(program).name, *arguments])
    return f"<p>The run was started by</p><pre><code>{text(shown)}</code></pre>"
