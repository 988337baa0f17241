"""The page of the suite "imagenet", in Markdown."""

# A difference that is not one of rounding and of arithmetic alone, in points.
TOLERANCE = 0.15
_TITLES = {"val": "val", "real": "ReaL", "v2": "V2"}
_COLUMNS = (("val", "top1"), ("val", "top5"), ("real", "top1"), ("v2", "top1"))


def imagenet_page(document: dict) -> str:
    """Returns the page.

    Args:
        document: as `evaluate_imagenet` returns it.

    Returns:
        Markdown: a row for each of the weights, and below the table what it is about.
    """
    rows = [row for row in document["rows"] if "model" in row]
    columns = [c for c in _COLUMNS if any(c[0] in row for row in rows)]
    header = ["model", "weights", "training", "view", "images/s"]
    for name, figure in columns:
        header += [f"{_TITLES[name]} {figure.replace('top', 'top-')}", "published", "difference"]
    lines = ["# ImageNet", "", _line(header), _line(["---"] * len(header))]
    lines += [_line(_cells(row, columns)) for row in rows]
    lines += ["", _explanation(document["data"], rows)]
    return "\n".join(lines) + "\n"


def _cells(row: dict, columns: list[tuple[str, str]]) -> list[str]:
    view, published = row["view"], row.get("published", {})
    training = published.get("training", "")
    speed = next((row[name]["images_per_second"] for name in ("val", "v2") if name in row), None)
    height, width = view["image_size"]
    cells = [
        f"`{row['model']}`",
        f"`{row['weights']}`",
        f"{training} (assumed)" if published.get("is_assumed") else training,
        f"{height}×{width}, crop {view['crop_ratio']:g}, {view['interpolation']}",
        "" if speed is None else f"{speed:,.0f}",
    ]
    for name, figure in columns:
        measured = row.get(name, {}).get(figure)
        known = published.get(name, {}).get(figure)
        difference = row.get("difference", {}).get(name, {}).get(figure)
        cells += ["" if v is None else f"{100 * v:.2f}" for v in (measured, known)]
        cells.append("" if difference is None else _marked(100 * difference))
    return cells


def _marked(points: float) -> str:
    """Returns a difference, in bold with a sign if it is more than rounding explains."""
    text = f"{points:+.2f}"
    return f"**{text} ≠**" if abs(points) > TOLERANCE else text


def _explanation(data: dict, rows: list[dict]) -> str:
    lines = [
        "Top-1 and top-5 in percent, of the mean of the heads. ReaL counts the images that have "
        f"labels of it. A difference of more than {TOLERANCE} points is marked ≠. Where the "
        "training is assumed, the file has none of the names that weights were released with, and "
        "the published figures are those of the first training of the model.",
        "",
    ]
    for name, values in data.items():
        lines.append(f"- {_TITLES[name]}: {values['images']:,} images.")
        if values["images"] != values["expected"]:
            lines[-1] += (
                f" **It should have {values['expected']:,}; figures of other images cannot be "
                "compared with the published ones.**"
            )
    sources = {s: None for row in rows for s in row.get("published", {}).get("sources", ())}
    lines += [f"- Published: {source}." for source in sources]
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
