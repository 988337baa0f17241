"""The sections of a page that show an evaluation, each a function that returns HTML.

What the evaluation does not have is an empty string. The evaluations are dictionaries as
`evaluate_run` returns them.
"""

from collections.abc import Sequence

import numpy as np

from keras_deit.evaluation.charts import Line, line_chart, reliability_chart
from keras_deit.evaluation.html_parts import folded, heat_picture, heat_table, table, text
from keras_deit.evaluation.measuring import ROWS, SUFFIXES
from keras_deit.evaluation.mistakes import Mistake
from keras_deit.evaluation.tables import row_title

# A table of so many classes can be read as a whole, and that of more only in a fold.
MOST_CLASSES_SHOWN = 30
_MOST_CLASSES_DRAWN = 2_000
_MOST_PAIRS = 15
_EMA = SUFFIXES["ema_scores"]


def _main_first(rows: dict) -> list[str]:
    """Returns names of rows, with the one that is served first and averaged weights last."""

    def place(row: str) -> tuple:
        name = row.removesuffix(_EMA)
        order = ROWS.index(name) if name in ROWS else len(ROWS)
        return row != "fused", row != name, order

    return sorted(rows, key=place)


def confusions(evaluation: dict, names: Sequence[str]) -> str:
    """Returns the confusion matrix and the most confused pairs of each row."""
    rows = evaluation.get("confusion", {})
    parts = []
    for place, row in enumerate(_main_first(rows)):
        counts = np.asarray(rows[row])
        title = f"Confusion matrix, {row_title(row)}: class by row, answer by column"
        shown = _confusion(title, counts, names) + _pairs(counts, names)
        shown = f'<div class="side">{shown}</div>'
        parts.append(shown if place == 0 else folded(row_title(row), shown))
    return "".join(parts)


def _confusion(title: str, counts: np.ndarray, names: Sequence[str]) -> str:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    levels = np.where(np.eye(len(counts), dtype=bool), shares, np.sqrt(shares))
    if len(counts) <= MOST_CLASSES_SHOWN:
        shown = [[f"{value:,}" if value else "" for value in row] for row in counts.tolist()]
        return heat_table(title, "class", names, names, shown, levels, diagonal=True)
    if len(counts) > _MOST_CLASSES_DRAWN:
        return ""
    told = f"{title}; the pairs that are confused most are listed below."
    return heat_picture(title, told, levels)


def _pairs(counts: np.ndarray, names: Sequence[str]) -> str:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_PAIRS]
    rows = [
        [names[i], names[j], int(wrong[i, j]), wrong[i, j] / counts[i].sum()]
        for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[i, j]
    ]
    columns = ["class", "taken for", "images", "share of the class"]
    return table("Most confused pairs", columns, rows) if rows else ""


def classes(evaluation: dict) -> str:
    """Returns the figures by class."""
    rows = evaluation.get("per_class", {})
    if not rows:
        return ""
    main, *others = _main_first(rows)
    classes = sorted(rows[main], key=lambda name: rows[main][name]["f1"])
    own = [f"{figure}, {row_title(main)}" for figure in ("precision", "recall", "F1")]
    columns = ["class", "images", *own, *(f"recall, {row_title(row)}" for row in others)]
    cells = [
        [
            name,
            rows[main][name]["examples"],
            *(rows[main][name][figure] for figure in ("precision", "recall", "f1")),
            *(rows[row].get(name, {}).get("recall") for row in others),
        ]
        for name in classes
    ]
    if len(cells) <= MOST_CLASSES_SHOWN:
        return table("Figures by class, the worst F1 first", columns, cells)
    worst = table("The classes with the worst F1", columns, cells[:_MOST_PAIRS])
    return worst + folded(
        f"All {len(cells):,} classes", table("Figures by class", columns, cells, tall=True)
    )


def calibration(evaluation: dict) -> str:
    """Returns the reliability diagram of each row."""
    rows = evaluation.get("reliability", {})
    drawn = {
        row: reliability_chart(f"Reliability, {row_title(row)}", rows[row], place)
        for place, row in enumerate(_main_first(rows))
    }
    if not drawn:
        return ""
    charts = "".join(chart for row, chart in drawn.items() if _EMA not in row)
    averaged = "".join(chart for row, chart in drawn.items() if _EMA in row)
    averaged = averaged and f'<div class="charts">{averaged}</div>'
    return (
        "<p>Bars show how often answers of a confidence are right, points their mean confidence; "
        "on the dashed line both are the same. The gray bars below show how many images have that "
        f'confidence.</p><div class="charts">{charts}</div>'
        f"{folded('Of the averaged weights', averaged)}"
    )


def mistake_cards(mistakes: Sequence[Mistake], row: str, names: Sequence[str], split: str) -> str:
    """Returns images with wrong answers.

    Args:
        mistakes: the images, the most confident mistake first.
        row: the head that makes them.
        names: names of the classes.
        split: whose images they are.
    """
    if not mistakes:
        return ""
    cards = "".join(_card(each, names, split) for each in mistakes)
    return (
        f"<p>Images with a wrong answer ({text(row_title(row))}), that with the "
        "most probable one first. Beside each answer is its probability, and that of the right "
        "class. Attention is that of the last block, the mean over its heads: blue is little, "
        "yellow is much.</p>"
        f'<div class="cards">{cards}</div>'
    )


def _card(mistake: Mistake, names: Sequence[str], split: str) -> str:
    truth = names[mistake.truth]
    pictures = "".join(
        f'<div><img src="{picture.address}"{" class=small" * picture.small} '
        f'alt="{text(f"{picture.title}, image {mistake.index} of class {truth}")}">'
        f"{text(picture.title)}</div>"
        for picture in mistake.pictures
    )
    rows = "".join(
        f'<tr><th scope="row">{text(row_title(row))}</th>'
        f'<td class="text{" right" * (answer.label == mistake.truth)}">'
        f"{text(names[answer.label])}{' ✓' * (answer.label == mistake.truth)}</td>"
        f"<td>{answer.probability:.3f}</td><td>{answer.of_truth:.3f}</td></tr>"
        for row, answer in mistake.answers.items()
    )
    where = mistake.path or f"image {mistake.index} of the {split} split"
    return (
        f'<figure class="card"><figcaption>{text(truth)}<small>{text(where)}</small></figcaption>'
        f'<div class="pictures">{pictures}</div><table><thead><tr><td></td>'
        '<th scope="col">says</th><th scope="col">with</th><th scope="col">right class</th></tr>'
        f"</thead><tbody>{rows}</tbody></table></figure>"
    )


def disagreement(evaluation: dict) -> str:
    """Returns the matrix of how often two answers differ."""
    found = evaluation.get("disagreement")
    if not found:
        return ""
    values = np.asarray(found["matrix"], np.float64)
    highest = float(values.max()) or 1.0
    shown = [[f"{value:.4f}" for value in row] for row in values]
    names = [row_title(name) for name in found["names"]]
    title = "Share of images on which two answers differ"
    return heat_table(title, "", names, names, shown, values / highest, diagonal=False)


def inside(evaluation: dict) -> str:
    """Returns charts of what the model computes block by block."""
    charts = ""
    if cosines := evaluation.get("token_cosine"):
        line = Line("cosine", _by_block(cosines))
        charts += line_chart("Cosine of class and distillation token by block", [line], "block")
    if norms := evaluation.get("branch_norms"):
        lines = [Line(name, _by_block(v), place) for place, (name, v) in enumerate(norms.items())]
        charts += line_chart("Norm of each residual branch over the main one", lines, "block")
    if distances := evaluation.get("attention_distance"):
        points = [(n + 1, pixels) for n, heads in enumerate(distances) for pixels in heads]
        line = Line("a head", points)
        title = "Mean attention distance of each head, pixels"
        charts += line_chart(title, [line], "layer", joined=False)
    return f'<div class="charts">{charts}</div>' if charts else ""


def _by_block(values: Sequence[float]) -> list[tuple[float, float]]:
    return [(place + 1, value) for place, value in enumerate(values) if value is not None]
