"""The table of models, for people."""

from collections.abc import Iterable

from keras_deit.models.model_spec import ModelSpec, Result

_TITLES = ("model", "image size", "parameters", "GMACs", "crop", "top-1", "released weights")


def markdown_table(specs: Iterable[ModelSpec]) -> str:
    """A Markdown table, one row a model, its columns aligned.

    Top-1 is on ImageNet-1k, followed by the training; a weight file stands in the order of its
    training. Of several publishers' files of the same weights the first is shown.
    """
    rows = [_TITLES, *map(_row, specs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = tuple("-" * width for width in widths)
    lines = [_line(row, widths) for row in (rows[0], rule, *rows[1:])]
    return "\n".join(lines)


def _row(spec: ModelSpec) -> tuple[str, ...]:
    return (
        f"`{spec.name}`",
        str(spec.image_size),
        f"{spec.parameters:,}",
        f"{spec.gmacs:.4g}",
        f"{spec.crop_ratio:g}",
        ", ".join(map(_result, spec.results)),
        ", ".join(f"`{result.files[0]}`" for result in spec.results if result.files),
    )


def _result(result: Result) -> str:
    return f"{result.top1:.1f} ({result.training})"


def _line(cells: Iterable[str], widths: list[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"
