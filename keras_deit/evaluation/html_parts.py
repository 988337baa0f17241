"""Tables of a page as HTML; every text is escaped here."""

import base64
import html
import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from keras_deit.core.names import readable

# Above so many percent of its color a cell has light text.
_DEEP = 70
# Longer names of columns stand upright.
_SHORT = 4
# The color of a picture of a matrix, blue, green and red; those of mistakes are in the second one.
_HEAT, _WARM = (178, 114, 0), (0, 94, 213)


def text(value) -> str:
    """Returns a value as escaped text: floats with four digits, what is missing as a dash.

    Names of files that are not UTF-8 are read as Latin-1.
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}" if math.isfinite(value) else "–"
    return html.escape(f"{value:,}" if isinstance(value, int) else readable(str(value)))


def section(key: str, title: str, content: str) -> str:
    """Returns a section with its heading; an empty string without content."""
    if not content:
        return ""
    return f'<section id="{key}"><h2>{html.escape(title)}</h2>{content}</section>'


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence], tall: bool = False
) -> str:
    """Returns a table in a box in which it scrolls.

    Args:
        caption: its title.
        columns: titles of the columns, also of the first, which names the rows.
        rows: the cells of each row, the first of which is its title. A cell is a value, or a pair
            of a value and a small text below it.
        tall: whether it also scrolls vertically.
    """
    rows = [tuple(row) for row in rows]
    texts = [any(isinstance(row[place], str) for row in rows) for place in range(len(columns))]
    head = "".join(
        f'<th scope="col"{" class=text" * is_text}>{text(title)}</th>'
        for title, is_text in zip(columns, texts, strict=True)
    )
    body = "".join(
        f'<tr><th scope="row">{text(title)}</th>{"".join(map(_cell, cells))}</tr>'
        for title, *cells in rows
    )
    content = (
        f"<table>{_caption(caption)}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )
    return scrolled(caption, content, tall)


def values_table(caption: str, values: dict) -> str:
    """Returns a table of names and values, which wrap; an empty string without values."""
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th><td>{_value(value)}</td></tr>'
        for name, value in values.items()
        if value not in (None, "")
    )
    content = f'<table class="values">{_caption(caption)}<tbody>{rows}</tbody></table>'
    return scrolled(caption, content) if rows else ""


def heat_table(
    caption: str,
    corner: str,
    names: Sequence[str],
    columns: Sequence[str],
    shown: Sequence[Sequence[str]],
    levels: np.ndarray,
    diagonal: bool,
) -> str:
    """Returns a matrix as a table whose colors say how large the values are.

    Args:
        caption: its title.
        corner: what rows and columns are.
        names, columns: names of the rows and columns.
        shown: texts of the cells.
        levels: the share of the color in each cell, in [0, 1].
        diagonal: whether cells off the diagonal are mistakes, with a color of their own.
    """
    head = "".join(
        f'<th scope="col" title="{text(name)}"><span>{text(name)}</span></th>' for name in columns
    )
    upright = " upright" * (max(map(len, columns)) > _SHORT)
    rows = []
    for i, name in enumerate(names):
        cells = []
        for j, value in enumerate(shown[i]):
            level = round(100 * float(levels[i][j]))
            kinds = ["wrong"] * (diagonal and i != j) + ["deep"] * (level > _DEEP)
            kind = f' class="{" ".join(kinds)}"' if kinds else ""
            style = f' style="--v:{level}"' if level else ""
            cells.append(f"<td{kind}{style}>{text(value)}</td>")
        rows.append(
            f'<tr><th scope="row" title="{text(name)}">{text(name)}</th>{"".join(cells)}</tr>'
        )
    content = (
        f'<table class="heat{upright}">{_caption(caption)}<thead><tr>'
        f'<td class="axis">{text(corner)}</td>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    return scrolled(caption, content)


def heat_picture(caption: str, told: str, levels: np.ndarray) -> str:
    """Returns a matrix as a picture with a pixel for each value, which is light on any background.

    Args:
        caption: its title.
        told: the text for those who do not see it.
        levels: (count, count), in [0, 1]; what is off the diagonal is a mistake.
    """
    count = len(levels)
    pixels = np.empty((count, count, 4), np.uint8)
    pixels[..., :3] = np.where(np.eye(count, dtype=bool)[..., None], _HEAT, _WARM)
    pixels[..., 3] = np.round(255 * levels)
    return (
        f"<figure><figcaption>{text(caption)}</figcaption>"
        f'<img class="matrix" alt="{text(told)}" width="{count}" height="{count}" '
        f'src="{data_address(pixels, ".png")}"></figure>'
    )


def scrolled(caption: str, content: str, tall: bool = False) -> str:
    """Returns content in a box in which it scrolls, with the keyboard too."""
    kind = "scroll tall" if tall else "scroll"
    return (
        f'<div class="{kind}" role="region" tabindex="0" aria-label="{text(caption)}">'
        f"{content}</div>"
    )


def folded(title: str, content: str) -> str:
    """Returns content that opens when its title is clicked; an empty string without content."""
    return f"<details><summary>{text(title)}</summary>{content}</details>" if content else ""


def data_address(pixels: np.ndarray, suffix: str, quality: int = 80) -> str:
    """Returns a picture as an address that holds it.

    Args:
        pixels: uint8 (height, width, 3), blue, green and red, or 4 with its opacity.
        suffix: ".png" or ".jpg".
        quality: of a JPEG picture.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    encoded = cv2.imencode(suffix, pixels, options)[1].tobytes()
    kind = "jpeg" if suffix == ".jpg" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"


def _caption(title: str) -> str:
    # The title stays where it is when a wide table scrolls.
    return f"<caption><span>{text(title)}</span></caption>"


def _cell(value) -> str:
    if isinstance(value, tuple):
        return f"<td>{text(value[0])}<small>{text(value[1])}</small></td>"
    kind = ' class="text"' if isinstance(value, str) else ""
    return f"<td{kind}>{text(value)}</td>"


def _value(value) -> str:
    if isinstance(value, float):
        return text(f"{value:.6g}")
    if isinstance(value, dict):
        return text(", ".join(f"{name} {inner}" for name, inner in value.items()))
    if isinstance(value, (list, tuple)):
        return text(", ".join(map(str, value)))
    return text(value)
