"""The page of a search: every query with the images that are most similar to it."""

import importlib.resources
import os
import pathlib
import string
from collections.abc import Sequence

import cv2
import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.names import printable
from keras_deit.data.folder import FileSource
from keras_deit.evaluation.html_parts import data_address, section, text
from keras_deit.evaluation.image_index import ImageIndex, Match
from keras_deit.version import __version__

_TEMPLATE = "report.html.template"
# The longer side of a picture in pixels, and up to where its pixels are shown one by one.
_SIDE, _SMALL = 200, 64
_STATES = {"changed": "the file has changed since it was indexed", "gone": "the file is gone"}


def search_page(
    index: ImageIndex, queries: Sequence[str], found: Sequence[Sequence[Match]], turned: bool = True
) -> str:
    """Returns the page as HTML that needs no other file and no network.

    Args:
        index: that was searched.
        queries: paths of the images that were looked for.
        found: the images that were found for each.
        turned: whether photographs are turned upright as their EXIF data says.
    """
    names = [printable(os.path.basename(query)) for query in queries]
    sections = [
        section(f"query{place}", f"Nearest to {name}", _cards(query, matches, index, turned))
        for place, (name, query, matches) in enumerate(zip(names, queries, found, strict=True))
    ]
    links = [
        f'<li><a href="#query{place}">{text(name)}</a></li>' for place, name in enumerate(names)
    ]
    file = importlib.resources.files("keras_deit.evaluation") / _TEMPLATE
    model = f"{index.record['name']} of {index.record['source']}"
    return string.Template(file.read_text("utf-8")).substitute(
        title="Search by image",
        name="Search by image",
        subtitle=text(f"{len(index):,} images of {printable(index.folder)}"),
        generator=text(f"keras-deit {__version__}"),
        lead="",
        contents="".join(links) if len(links) > 1 else "",
        sections="\n".join(sections),
        footer=text(f"Written by keras-deit {__version__}. Cosines of the embeddings by {model}."),
    )


def _cards(query: str, matches: Sequence[Match], index: ImageIndex, turned: bool) -> str:
    shown = [_card(query, "what was looked for", turned, printable(query))]
    for rank, match in enumerate(matches, 1):
        about = f"{rank}. cosine {match.cosine:.3f}"
        if match.state:
            about += f", {_STATES[match.state]}"
        where = printable(os.path.relpath(match.path, index.folder))
        shown.append(_card(match.path, about, turned, where))
    return f'<div class="cards">{"".join(shown)}</div>'


def _card(path: str, about: str, turned: bool, where: str) -> str:
    picture, small = _picture(path, turned)
    image = "<div>cannot be read</div>"
    if picture:
        image = f'<div><img src="{picture}"{" class=small" * small} alt="{text(where)}"></div>'
    return (
        f'<figure class="card"><figcaption>{text(about)}<small>{text(where)}</small></figcaption>'
        f'<div class="pictures single">{image}</div></figure>'
    )


def _picture(path: str, turned: bool) -> tuple[str, bool]:
    """Returns an image as a small picture, and whether its pixels should be seen."""
    try:
        pixels, _ = FileSource([str(pathlib.Path(path))], [0], exif_orientation=turned)[0]
    except InputError:
        return "", False
    longest = max(pixels.shape[:2])
    if longest <= _SMALL:
        return data_address(np.ascontiguousarray(pixels[..., ::-1]), ".png"), True
    scale = min(1.0, _SIDE / longest)
    size = [max(1, round(scale * side)) for side in pixels.shape[1::-1]]
    shown = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return data_address(np.ascontiguousarray(shown[..., ::-1]), ".jpg"), False
