"""The page of a study, as Markdown and as HTML."""

import html
from collections.abc import Sequence

from keras_deit.evaluation.charts import figure
from keras_deit.evaluation.html_parts import table, text, values_table
from keras_deit.evaluation.page import filled_page
from keras_deit.studies.definition import TOP1
from keras_deit.version import __version__

_CLAIM_TITLES = ("claim", "compared", "verdict", "difference", "95 % interval", "p")
_METHOD = (
    "Top-1 in percent on the test split, or on the validation split of data without one. A "
    "claim holds, or does not, if p is below 0.05, otherwise the difference is within noise: "
    "two-sided, by Welch's test, or by the paired t-test for figures of the same runs or of "
    "runs that come from the same ones. p has Holm's correction for the claims of a table, the "
    "intervals have not."
)
# Pixels of a chart: its dots, a letter of a name, a line, the axis, and space beside the dots.
_DOTS, _LETTER, _LINE, _AXIS, _MARGIN = 340, 6.3, 22, 24, 24


def markdown_page(document: dict, command: str) -> str:
    """Returns the page as Markdown.

    Args:
        document: as `study_document` returns it.
        command: the command that has made it.
    """
    lines = [f"# {document['study']}: {document['title']}", ""]
    lines += [f"It mirrors {document['source']}. {document['remarks']}".strip(), ""]
    lines += [f"The data: {document['reason']}.", "", "```sh", command, "```", ""]
    lines += [f"- {name}: {value}" for name, value in document["conditions"].items()]
    for dataset, part in document["data"].items():
        lines += ["", f"## {dataset}"]
        for title, titles, rows in _tables(part["cells"]):
            lines += ["", *_markdown_table((title, *titles[1:]), rows)]
        if claims := [_claim(claim, bold="**") for claim in part["claims"]]:
            lines += ["", *_markdown_table(_CLAIM_TITLES, claims)]
    lines += [
        "",
        _METHOD,
    ]
    return "\n".join(lines) + "\n"


def html_page(document: dict, command: str) -> str:
    """Returns the page as HTML that needs no other file and no network."""
    parts = {}
    for dataset, part in document["data"].items():
        tables = "".join(table(*each) for each in _tables(part["cells"]))
        claimed = [name for claim in part["claims"] for name in claim["figures"]]
        figures = dict.fromkeys(claimed or [TOP1])
        charts = "".join(_chart(part["cells"], name) for name in figures)
        claims = [_claim(claim) for claim in part["claims"]]
        claims = table("Claims", _CLAIM_TITLES, claims) if claims else ""
        parts[dataset] = (dataset, f"{tables}{charts}{claims}<p>{text(_METHOD)}</p>")
    parts["conditions"] = ("Conditions", values_table("Measured with", document["conditions"]))
    parts["command"] = ("Command", f"<pre>{text(command)}</pre>")
    lead = f"It mirrors {document['source']}. {document['remarks']} The data: {document['reason']}."
    return filled_page(
        title=f"Study: {document['study']}",
        name=f"Study: {document['study']}",
        subtitle=document["title"],
        lead=f"<p>{text(lead)}</p>",
        parts=parts,
        footer=f"Written by keras-deit {__version__}.",
    )


def _tables(cells: dict) -> list[tuple[str, list[str], list[list[str]]]]:
    """Returns title, titles of the columns, and rows of each table: the top-1, and other figures.

    Figures that no cell has are left out.
    """
    measured = {
        name: {cell: figures[name] for cell, figures in cells.items()}
        for name in next(iter(cells.values()))
        if any(figures[name]["values"] for figures in cells.values())
    }
    top1 = measured.pop(TOP1, None)
    tables = []
    if top1 is not None:
        rows = [[cell, *_numbers(figure)] for cell, figure in top1.items()]
        titles = ["", "mean", "std", "least", "most", "seeds", "published"]
        tables.append((TOP1, titles, rows))
    if measured:
        rows = [[name, *map(_in_short, by_cell.values())] for name, by_cell in measured.items()]
        title = "mean ± std of the seeds, and in brackets what is published"
        tables.append((title, ["", *cells], rows))
    return tables


def _numbers(figure: dict) -> list[str]:
    """Returns mean, std, least, most, number of seeds and the published figure as texts."""
    values = figure["values"].values()
    shown = [figure["mean"], figure["std"], min(values, default=None), max(values, default=None)]
    texts = ["–" if value is None else _rounded(value) for value in shown]
    published = "" if figure["published"] is None else f"{figure['published']:g}"
    return [*texts, str(len(figure["values"])), published]


def _in_short(figure: dict) -> str:
    """Returns mean, std and the published figure in one text."""
    mean, std, *_, published = _numbers(figure)
    spread = f" ± {std}" if figure["std"] is not None else ""
    return f"{mean}{spread}{f' ({published})' if published else ''}"


def _rounded(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def _claim(claim: dict, bold: str = "") -> list[str]:
    better, worse = (
        side if figure == TOP1 else f"{side}, {figure}"
        for side, figure in zip((claim["better"], claim["worse"]), claim["figures"], strict=True)
    )
    words = [claim["text"], f"{better} > {worse}"]
    if "p" not in claim:
        return [*words, claim["verdict"], "", "", ""]
    low, high = claim["interval"]
    return [
        *words,
        f"{bold}{claim['verdict']}{bold}",
        f"{claim['difference']:+.3g}",
        f"{low:+.3g} to {high:+.3g}",
        f"{claim['p']:.2g}",
    ]


def _markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [titles, ["---"] * len(titles), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _chart(cells: dict, figure_name: str) -> str:
    """Returns a chart with a line for each cell: a dot for each seed, and a mark at their mean."""
    measured = {n: cell[figure_name] for n, cell in cells.items() if cell[figure_name]["values"]}
    if not measured:
        return ""
    values = [value for cell in measured.values() for value in cell["values"].values()]
    low, high = min(values), max(values)
    left = round(_LETTER * max(map(len, measured))) + 16
    width, scale = left + _DOTS, (_DOTS - 2 * _MARGIN) / ((high - low) or 1)

    def at(value: float) -> float:
        return left + _MARGIN + (value - low) * scale

    height = _LINE * len(measured) + _AXIS
    parts = []
    for index, (name, cell) in enumerate(measured.items()):
        y = _LINE * (index + 0.5)
        dots = "".join(
            f'<circle cx="{at(value):.1f}" cy="{y}" r="3"/>' for value in cell["values"].values()
        )
        mean = at(cell["mean"])
        parts.append(
            f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{html.escape(name)}</text>'
            f'<path class="grid" d="M{left} {y}H{width}"/><g class="line c0 loose">{dots}'
            f'<path d="M{mean:.1f} {y - 7}V{y + 7}"/></g>'
        )
    for value in (low, (low + high) / 2, high):
        x = at(value)
        parts.append(
            f'<text x="{x:.1f}" y="{height - 6}" text-anchor="middle">{_rounded(value)}</text>'
        )
    told = "; ".join(f"{name}: {_rounded(cell['mean'])}" for name, cell in measured.items())
    drawing = (
        f'<svg role="img" viewBox="0 0 {width} {height}" style="max-width:{width}px" '
        f'aria-label="{html.escape(told)}">{"".join(parts)}</svg>'
    )
    return figure(f"{figure_name}: each seed, and their mean", drawing)
