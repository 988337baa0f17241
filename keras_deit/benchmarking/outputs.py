"""The result of a benchmark as Markdown, CSV and a picture."""

import csv
import dataclasses
import html
import io
import itertools
from collections.abc import Sequence

from keras_deit.benchmarking.measuring import Result, Row

# Pixels of the picture.
_WIDTH, _NAMES, _BAR, _GAP, _TITLE = 760, 190, 18, 6, 26
_COLORS = {False: "#0072b2", True: "#d55e00"}


def markdown(result: Result, command: str) -> str:
    """Returns the tables of a result, with the command and what it was measured with.

    The ratios of a table are to its first peer; without a peer, to its first row.

    Args:
        result: what was measured.
        command: the command that measured it.
    """
    lines = [f"`{command}`", ""]
    lines += [f"- {name}: {value}" for name, value in result.conditions.items()]
    for (model, precision), rows in _tables(result):
        first = _reference(rows)
        lines += [
            "",
            f"**{model}, {precision}**",
            "",
            f"| | {result.unit} (least to most) | of {first.contender} | "
            "MFU | peak memory | first step |",
            "|---|---|---|---|---|---|",
            *(_line(row, first) for row in rows),
        ]
    if result.failures:
        lines += ["", "Not measured:", ""]
        lines += [f"- {what}: {reason}" for what, reason in result.failures.items()]
    return "\n".join(lines) + "\n"


def csv_table(result: Result) -> str:
    """Returns the rows of a result as CSV, the numbers in full and memory in bytes."""
    file = io.StringIO()
    names = [field.name for field in dataclasses.fields(Row)]
    at = names.index("rate")
    names[at : at + 1] = ["rate", "least", "most"]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*names, "ratio"])
    for _, rows in _tables(result):
        first = _reference(rows)
        for row in rows:
            values = list(dataclasses.astuple(row))
            values[at : at + 1] = row.rate
            writer.writerow([*values, _ratio(row, first)])
    return file.getvalue()


def picture(result: Result) -> str:
    """Returns a chart with a bar of the rate of each row, and its spread, as SVG."""
    parts, top = [], 0
    for (model, precision), rows in _tables(result):
        title = f"{model}, {precision}: {result.unit} ({result.conditions['mode']})"
        parts.append(_text(0, top + 16, title, "bold"))
        top += _TITLE
        most = max(row.rate[2] for row in rows)
        for row in rows:
            parts.append(_bar(row, top, (_WIDTH - _NAMES - 90) / most))
            top += _BAR + _GAP
        top += _BAR
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" '
        f'viewBox="0 0 {_WIDTH} {top}" font-family="sans-serif" font-size="13">'
        f'<rect width="{_WIDTH}" height="{top}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _tables(result: Result):
    """Yields model and precision, and their rows."""
    for key, rows in itertools.groupby(result.rows, lambda row: (row.model, row.precision)):
        yield key, list(rows)


def _reference(rows: Sequence[Row]) -> Row:
    return next((row for row in rows if row.is_peer), rows[0])


def _ratio(row: Row, first: Row) -> float:
    return row.rate[0] / first.rate[0]


def _line(row: Row, first: Row) -> str:
    median, least, most = row.rate
    mfu = "–" if row.mfu is None else f"{row.mfu:.0%}"
    return (
        f"| {row.contender} | {_number(median)} ({_number(least)} to {_number(most)}) | "
        f"{_ratio(row, first):.2f} | {mfu} | {row.peak_memory / 1e9:.2f} GB | "
        f"{row.first_step:.1f} s |"
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _bar(row: Row, top: int, scale: float) -> str:
    median, least, most = (value * scale for value in row.rate)
    middle = top + _BAR / 2
    return (
        _text(_NAMES - 8, middle + 5, row.contender, anchor="end")
        + f'<rect x="{_NAMES}" y="{top}" width="{median:.1f}" height="{_BAR}" '
        f'fill="{_COLORS[row.is_peer]}"/>'
        f'<path d="M{_NAMES + least:.1f} {middle}H{_NAMES + most:.1f}" stroke="#000"/>'
        + _text(_NAMES + most + 6, middle + 5, _number(row.rate[0]))
    )


def _text(x: float, y: float, text: str, weight: str = "normal", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-weight="{weight}" text-anchor="{anchor}">'
        f"{html.escape(text)}</text>"
    )
