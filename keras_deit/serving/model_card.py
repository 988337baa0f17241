"""The card of an exported model: what it is, where it comes from and what it reached.

It follows Mitchell et al. 2019, "Model Cards for Model Reporting", as far as a run knows it.
"""

import datetime
import pathlib
import re
from collections.abc import Mapping, Sequence

from keras_deit.core.errors import InputError, corrupt_as_input_error
from keras_deit.core.files import file_digest, write_json
from keras_deit.core.names import readable
from keras_deit.models import Classifier, get_spec
from keras_deit.serving.sources import ExportSource
from keras_deit.training import Run
from keras_deit.version import __version__

CARD, CARD_VALUES = "README.md", "model_card.json"
_CODE_LICENSE = "Apache-2.0"
# Punctuation that begins markup or HTML within a line.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&$@])")
_ROWS = {"class": "class head", "distillation": "distillation head"}


def write_model_card(
    directory: pathlib.Path,
    name: str,
    source: ExportSource,
    interface: Sequence[str],
    measured: Mapping[str, float],
) -> None:
    """Writes `README.md` and `model_card.json` beside the files of an export.

    It is called when all other files are written, because it holds their checksums.

    Args:
        directory: the folder of the exported files.
        name: the name of the exported model.
        source: what was exported.
        interface: lines that say what the exported model takes and returns, such as those of
            `SavedModel.describe`.
        measured: what was measured at the export, by what it is.

    Raises:
        InputError: the files of the run are corrupt.
        OSError: the card cannot be written.
    """
    card = _card(name, source)
    card["interface"] = list(interface)
    card["measured_at_export"] = dict(measured)
    card["sha256"] = {
        path.relative_to(directory).as_posix(): file_digest(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
    write_json(directory / CARD_VALUES, card)
    (directory / CARD).write_text(card_page(card), "utf-8")


def _card(name: str, source: ExportSource) -> dict:
    """Returns what is known of a model, as JSON values."""
    model, view, run = source.model, source.view, source.run
    image_format = model.image_format
    return {
        "name": name,
        "model": {
            "architecture": model.name,
            "parameters": model.count_params(),
            "classes": list(source.class_names),
        },
        "preprocessing": {
            "height": image_format.height,
            "width": image_format.width,
            "crop_ratio": view.crop_ratio,
            "interpolation": view.interpolation,
            "exif_orientation": view.exif_orientation,
            "mean": list(image_format.mean),
            "std": list(image_format.std),
            "channels": image_format.channels,
        },
        "weights": str(source.weights),
        "license": _license(model, run),
        **({} if run is None else _of_run(run, source.weights)),
        "exported": {
            "by": f"keras-deit {__version__}",
            "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
    }


def _license(model: Classifier, run: Run | None) -> dict:
    """Returns the licenses of code and weights; None if nobody has stated one."""
    if run is not None:
        return {"code": _CODE_LICENSE, "weights": None}
    try:
        return {"code": _CODE_LICENSE, "weights": get_spec(model.name).license}
    except InputError:  # A model of the user's own.
        return {"code": _CODE_LICENSE, "weights": None}


def _of_run(run: Run, weights: str) -> dict:
    config, summary = run.config, run.summary or {}
    identity = config["run"]
    with corrupt_as_input_error(f"{run.path} has a corrupt configuration or summary"):
        return {
            "data": {
                "dataset": identity["dataset"],
                "images": config.get("examples"),
                "digest": (config.get("data") or {}).get("digest"),
            },
            "training": {
                "recipe": identity.get("recipe"),
                "settings": {key: value for key, value in identity.items() if key != "dataset"},
                "effective": config.get("effective"),
                "environment": config.get("environment"),
                "teacher": config["teacher"],
            },
            "figures": _figures(summary, weights),
        }


def _figures(summary: Mapping, weights: str) -> list[dict]:
    """Returns the scores of the exported weights, with the split that they were measured on."""
    suffix = {"final": "", "ema": "_ema"}.get(weights)
    if suffix is None:  # Of the best weights the summary has the figure that chose them.
        return [{"split": "validation", "figure": "best", "values": summary.get("best")}]
    return [
        {
            "split": split,
            "images": summary.get(f"{split}_examples"),
            "row": row,
            "figure": figure,
            "value": value,
        }
        for split in ("test", "validation")
        for row, values in (summary.get(f"{split}{suffix}") or {}).items()
        for figure, value in values.items()
    ]


def card_page(card: Mapping) -> str:
    """Returns a card as a page in Markdown, in which no text of the user is markup."""
    parts = [
        f"# {escaped(card['name'])}",
        *_what(card),
        *_data_and_recipe(card),
        *_figures_table(card),
        *_license_lines(card["license"]),
        "## Files",
        _table(("file", "SHA-256"), card["sha256"].items()),
    ]
    return "\n\n".join(parts) + "\n"


def escaped(value: object) -> str:
    """Returns a text as one line of Markdown that shows it as it is."""
    text = "".join(char if char.isprintable() else " " for char in readable(str(value)))
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _what(card: Mapping) -> list[str]:
    model, view = card["model"], card["preprocessing"]
    names = model["classes"]
    shown = ", ".join(map(str, names[:20])) + (f" and {len(names) - 20} more" * (len(names) > 20))
    facts = {
        "architecture": model["architecture"],
        "parameters": f"{model['parameters']:,}",
        "weights": card["weights"],
        "classes": f"{len(names)}: {shown}",
        "images": f"{view['height']} x {view['width']}, crop ratio {view['crop_ratio']:g}, "
        f"{view['interpolation']}",
        "exported": f"{card['exported']['at']} by {card['exported']['by']}",
    }
    interface = "\n".join(f"    {line}" for line in card["interface"])
    return [_table(("", ""), facts.items()), "## Interface", interface]


def _data_and_recipe(card: Mapping) -> list[str]:
    if "data" not in card:
        return []
    data, training = card["data"], card["training"]
    counts = ", ".join(f"{split} {count:,}" for split, count in (data["images"] or {}).items())
    facts = {
        "dataset": data["dataset"],
        "images": counts or "not recorded",
        "recipe": training["recipe"] or "none",
        "teacher": training["teacher"] or "none",
        **(training["effective"] or {}),
    }
    return ["## Data and training", _table(("", ""), facts.items())]


def _figures_table(card: Mapping) -> list[str]:
    rows = []
    for figure in card.get("figures", ()):
        if "value" in figure:
            what = f"{_ROWS.get(figure['row'], figure['row'])}, {figure['figure']}"
            where = f"{figure['split']} split, {figure['images'] or 'unknown number of'} images"
            rows.append((what, f"{figure['value']:.4f}", where))
        elif figure["values"]:
            rows += [(key, value, "of the best epoch") for key, value in figure["values"].items()]
    for what, value in card["measured_at_export"].items():
        shown = f"{value:.4g}" if isinstance(value, float) else value
        rows.append((what, shown, "measured at the export"))
    view = card["preprocessing"]
    protocol = (
        "Each image once, its shorter side resized to the image size / "
        f"{view['crop_ratio']:g} ({escaped(view['interpolation'])}), its center cropped; "
        "top-1 and agreement are fractions of the images."
    )
    return ["## Figures", protocol, _table(("figure", "value", "protocol"), rows)] if rows else []


def _license_lines(licenses: Mapping) -> list[str]:
    weights = licenses["weights"]
    of_weights = (
        f"Weights: {escaped(weights)}, as published."
        if weights
        else "Weights: whoever trained them has stated no license; those of the data, of the "
        "teacher and of weights that the training started from apply."
    )
    return ["## License", f"Code of the model: {escaped(licenses['code'])}. {of_weights}"]


def _table(head: Sequence[str], rows) -> str:
    lines = [head, ["---"] * len(head), *([escaped(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
