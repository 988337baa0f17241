"""Small charts as SVG, for a page that has to be light, sharp and readable without a network.

They are written by hand: the charts of a page take some 100 kB, are sharp at any size and follow
the colors of the page through its CSS variables, light, dark and on paper. plotly.js would add more
than 3 MB to every run, and matplotlib a dependency whose pictures have their colors fixed.
"""

import dataclasses
import html
import math
from collections.abc import Sequence
from typing import NamedTuple

from keras_deit.evaluation.html_parts import text as escaped

# Pixels at the width of a phone, where the text has the size that it has on the page.
WIDTH, HEIGHT = 360, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 36
_COUNTS = 34
# Lines of so few points have a mark on each.
_MARKED = 40
# How many colors and dashes the style sheet has.
_COLORS, _DASHES = 8, 4


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: what it is, for the legend.
        points: (x, y); what is not finite is left out.
        color: number of its color.
        dash: number of its dash, 0 for a solid line.
    """

    name: str
    points: Sequence[tuple[float, float]]
    color: int = 0
    dash: int = 0


class _Axes(NamedTuple):
    x: tuple[float, float]
    y: tuple[float, float]
    bottom: float = HEIGHT - _BOTTOM

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Returns the place of a value in pixels."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return (
            round(_LEFT + across * (WIDTH - _LEFT - _RIGHT), 1),
            round(self.bottom - up * (self.bottom - _TOP), 1),
        )


def line_chart(title: str, lines: Sequence[Line], x_title: str, joined: bool = True) -> str:
    """Returns a figure with lines and their legend.

    Args:
        title: what it shows.
        lines: the lines; those without a finite point are left out.
        x_title: title of the horizontal axis.
        joined: whether the points of a line are joined.

    Returns:
        A `figure` element of HTML; an empty string if no line has a point.
    """
    lines = [dataclasses.replace(line, points=_finite(line.points)) for line in lines]
    lines = [line for line in lines if line.points]
    if not lines:
        return ""
    x, y = ([p[i] for line in lines for p in line.points] for i in (0, 1))
    axes = _Axes(_limits(x, margin=0), _limits(y))
    whole = all(float(value).is_integer() for value in x)
    drawn = [_grid(axes, x_title, "", whole), *(_drawn(line, axes, joined) for line in lines)]
    summary = "; ".join(f"{line.name}: last {_number(line.points[-1][1])}" for line in lines)
    return figure(title, svg(f"{title}. {summary}.", "".join(drawn)), legend(lines))


def reliability_chart(title: str, bins: Sequence[dict], color: int = 0) -> str:
    """Returns a figure with the accuracy by confidence, and how many images have which.

    Args:
        title: what it shows.
        bins: for each the bounds `low` and `high` of its confidence, the `count` of images and, if
            there are any, their mean `confidence` and `accuracy`.
        color: number of its color.
    """
    axes = _Axes((0.0, 1.0), (0.0, 1.0), HEIGHT - _BOTTOM - _COUNTS - 6)
    bins = [each for each in bins if each["count"]]
    most = max((each["count"] for each in bins), default=1)
    base = HEIGHT - _BOTTOM
    parts = [_grid(axes, "", "accuracy", False, x_labels=False)]
    (x0, y0), (x1, y1) = axes.at(0, 0), axes.at(1, 1)
    parts.append(f'<path class="rule" d="M{x0} {y0}L{x1} {y1}"/>')
    for each in bins:
        (left, top), (right, _) = (
            axes.at(each["low"], each["accuracy"]),
            axes.at(each["high"], 0),
        )
        told = html.escape(
            f"confidence {each['confidence']:.3f}, accuracy {each['accuracy']:.3f}, "
            f"{each['count']:,} images"
        )
        size = max(1.0, round(_COUNTS * each["count"] / most, 1))
        across = f'x="{left}" width="{round(right - left - 1, 1)}"'
        x, y = axes.at(each["confidence"], each["accuracy"])
        parts.append(
            f'<g class="c{color % _COLORS}"><title>{told}</title>'
            f'<rect class="bar" {across} y="{top}" height="{round(y0 - top, 1)}"/>'
            f'<circle cx="{x}" cy="{y}" r="3"/>'
            f'<rect class="count" {across} y="{base - size:g}" height="{size}"/></g>'
        )
    for value in (0, 0.2, 0.4, 0.6, 0.8, 1):
        parts.append(_text(axes.at(value, 0)[0], base + 13, f"{value:g}", "middle"))
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(_text(middle, HEIGHT - 4, "confidence; below, images with it", "middle"))
    told = "; ".join(
        f"{e['low']:.2f} to {e['high']:.2f}: {e['accuracy']:.2f} of {e['count']}" for e in bins
    )
    return figure(title, svg(f"{title}. Accuracy by confidence: {told}.", "".join(parts)))


def figure(title: str, content: str, caption: str = "") -> str:
    """Returns a `figure` element.

    Args:
        title: text of its title.
        content: HTML.
        caption: HTML below it.
    """
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{content}{caption}</figure>"


def svg(told: str, content: str) -> str:
    """Returns a chart as an image with a text for those who do not see it."""
    return (
        f'<svg role="img" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'aria-label="{html.escape(told)}">{content}</svg>'
    )


def legend(lines: Sequence[Line]) -> str:
    """Returns the names of lines, each beside a piece of it."""
    items = "".join(
        f'<li><svg aria-hidden="true" width="26" height="8" viewBox="0 0 26 8">'
        f'<path class="{_classes(line)}" d="M0 4H26"/></svg>{escaped(line.name)}</li>'
        for line in lines
    )
    return f'<ul class="legend">{items}</ul>'


def _drawn(line: Line, axes: _Axes, joined: bool) -> str:
    places = [axes.at(*point) for point in line.points]
    kind = "" if joined else " loose"
    marks = ""
    if not joined or len(places) <= _MARKED:
        marks = "".join(f'<circle cx="{x}" cy="{y}" r="2"/>' for x, y in places)
    path = ""
    if joined and len(places) > 1:
        path = f'<path d="M{"L".join(f"{x} {y}" for x, y in places)}"/>'
    title = f"<title>{escaped(line.name)}</title>"
    return f'<g class="{_classes(line)}{kind}">{title}{path}{marks}</g>'


def _classes(line: Line) -> str:
    return f"line c{line.color % _COLORS} d{line.dash % _DASHES}"


def _grid(
    axes: _Axes, x_title: str, y_title: str, whole: bool = False, x_labels: bool = True
) -> str:
    """Returns the lines of the ticks, their labels, and the titles of the axes."""
    parts = []
    for value in _ticks(*axes.y, 5):
        x, y = axes.at(axes.x[0], value)
        parts.append(f'<path class="grid" d="M{x} {y}H{WIDTH - _RIGHT}"/>')
        parts.append(_text(x - 5, y + 4, _number(value), "end"))
    for value in _ticks(*axes.x, 5, whole) if x_labels else ():
        x, y = axes.at(value, axes.y[0])
        parts.append(f'<path class="grid" d="M{x} {y}v4"/>')
        parts.append(_text(x, y + 16, _number(value), "middle"))
    if x_title:
        parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 4, x_title, "middle"))
    if y_title:
        place = f"rotate(-90) translate({-(_TOP + axes.bottom) / 2:g} 10)"
        parts.append(
            f'<text transform="{place}" text-anchor="middle">{html.escape(y_title)}</text>'
        )
    return "".join(parts)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _finite(points) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _limits(values: Sequence[float], margin: float = 0.04) -> tuple[float, float]:
    """Returns bounds around values, which differ."""
    low, high = min(values), max(values)
    if low == high:
        half = abs(low) / 2 or 0.5
        return low - half, high + half
    space = margin * (high - low)
    return low - space, high + space


def _ticks(low: float, high: float, count: int, whole: bool = False) -> list[float]:
    """Returns about `count` round numbers between two bounds."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= 0.999 * rough)
    if whole:
        step = max(1.0, float(math.ceil(step)))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _number(value: float) -> str:
    """Returns a number as short as its size allows."""
    if value == 0 or 1e-4 <= abs(value) < 1e5:
        return f"{value:.4g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
