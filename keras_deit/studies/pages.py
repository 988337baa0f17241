"""The page of a study, as Markdown and as HTML."""

import html

from keras_deit.evaluation.charts import figure
from keras_deit.evaluation.html_parts import table, text, values_table
from keras_deit.evaluation.page import filled_page
from keras_deit.studies.definition import TOP1
from keras_deit.version import __version__

# Pixels of the chart.
_WIDTH, _NAMES, _LINE, _AXIS, _MARGIN = 560, 190, 22, 24, 12


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
        for figure_name in _figure_names(part):
            titles = ["", figure_name, "std", "seeds", "published"]
            lines += ["", _row(titles), "|---|---|---|---|---|"]
            lines += [_row([n, *_numbers(c[figure_name])]) for n, c in part["cells"].items()]
        lines += ["", "| claim | | difference | 95 % interval | p |", "|---|---|---|---|---|"]
        lines += [_row(_claim(claim, bold="**")) for claim in part["claims"]]
    lines += [
        "",
        "Top-1 in percent on the test split. A claim holds, or does not, if p is below 0.05 in "
        "Welch's test, two-sided and with Holm's correction for the claims of a table; otherwise "
        "the difference is within noise.",
    ]
    return "\n".join(lines) + "\n"


def html_page(document: dict, command: str) -> str:
    """Returns the page as HTML that needs no other file and no network."""
    parts = {}
    for dataset, part in document["data"].items():
        cells = "".join(
            table(
                figure_name,
                ("", "mean", "std", "seeds", "published"),
                [(n, *_numbers(c[figure_name])) for n, c in part["cells"].items()],
            )
            for figure_name in _figure_names(part)
        )
        claims = table(
            "Claims",
            ("claim", "verdict", "difference", "95 % interval", "p"),
            [_claim(claim) for claim in part["claims"]],
        )
        parts[dataset] = (dataset, cells + _chart(part["cells"]) + claims)
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


def _figure_names(part: dict) -> list[str]:
    """Returns the names of the figures of the cells, top-1 first."""
    return list(next(iter(part["cells"].values())))


def _numbers(figure: dict) -> list[str]:
    """Returns mean, std, number of seeds and the published figure as texts."""
    shown = [figure["mean"], figure["std"]]
    texts = ["–" if value is None else _rounded(value) for value in shown]
    published = "" if figure["published"] is None else f"{figure['published']:g}"
    return [*texts, str(len(figure["values"])), published]


def _rounded(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def _claim(claim: dict, bold: str = "") -> list[str]:
    words = f"{claim['text']} ({claim['better']} > {claim['worse']})"
    if "p" not in claim:
        return [words, claim["verdict"], "", "", ""]
    low, high = claim["interval"]
    return [
        words,
        f"{bold}{claim['verdict']}{bold}",
        f"{claim['difference']:+.3g}",
        f"{low:+.3g} to {high:+.3g}",
        f"{claim['p']:.2g}",
    ]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _chart(cells: dict) -> str:
    """Returns a chart with a line for each cell: a dot for each seed, and a mark at their mean."""
    measured = {name: cell[TOP1] for name, cell in cells.items() if cell[TOP1]["values"]}
    if not measured:
        return ""
    values = [value for cell in measured.values() for value in cell["values"].values()]
    low, high = min(values), max(values)
    scale = (_WIDTH - _NAMES - 2 * _MARGIN) / ((high - low) or 1)
    height = _LINE * len(measured) + _AXIS
    parts = []
    for index, (name, cell) in enumerate(measured.items()):
        y = _LINE * (index + 0.5)
        dots = "".join(
            f'<circle cx="{_at(value, low, scale):.1f}" cy="{y}" r="3"/>'
            for value in cell["values"].values()
        )
        mean = _at(cell["mean"], low, scale)
        parts.append(
            f'<text x="{_NAMES - 8}" y="{y + 4}" text-anchor="end">{html.escape(name)}</text>'
            f'<path class="grid" d="M{_NAMES} {y}H{_WIDTH}"/><g class="line c0 loose">{dots}'
            f'<path d="M{mean:.1f} {y - 7}V{y + 7}"/></g>'
        )
    for value in (low, (low + high) / 2, high):
        x = _at(value, low, scale)
        parts.append(f'<text x="{x:.1f}" y="{height - 6}" text-anchor="middle">{value:.1f}</text>')
    told = "; ".join(f"{name}: {cell['mean']:.2f}" for name, cell in measured.items())
    drawing = (
        f'<svg role="img" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'aria-label="{html.escape(told)}">{"".join(parts)}</svg>'
    )
    return figure("Top-1 in percent: each seed, and their mean", drawing)


def _at(value: float, low: float, scale: float) -> float:
    return _NAMES + _MARGIN + (value - low) * scale
