"""Shows the models: sizes, parameters, multiply-adds, published accuracy, released weights.

    python scripts/list_models.py [--pattern "cait*"] [--image_size 384] [--released]
                                  [--max_parameters 30e6]

With --into FILE the table goes into a Markdown file, between the lines `<!-- models -->` and
`<!-- /models -->`, as README has them.
"""

import pathlib
import re

import command  # isort: skip  (loads Keras without the noise)
from absl import flags

from keras_deit.errors import InputError
from keras_deit.models import list_models, model_table

_PATTERN = flags.DEFINE_string("pattern", "*", "Of the names, as a shell has it.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", None, "Only models of this size, in pixels.")
_MAX_PARAMETERS = flags.DEFINE_float("max_parameters", None, "Only models with no more.")
_RELEASED = flags.DEFINE_bool("released", None, "Only models with released weights, or without.")
_INTO = flags.DEFINE_string("into", None, "Markdown file to write the table into.")

_PLACE = re.compile(r"(<!-- models -->\n).*?(<!-- /models -->)", re.DOTALL)


def main() -> None:
    names = list_models(
        _PATTERN.value,
        image_size=_IMAGE_SIZE.value,
        max_parameters=_MAX_PARAMETERS.value,
        released=_RELEASED.value,
    )
    if not names:
        raise InputError("No model is like that.")
    table = model_table(names)
    if _INTO.value is None:
        print(table)
    else:
        _write(table, pathlib.Path(_INTO.value))


def _write(table: str, path: pathlib.Path) -> None:
    text = path.read_text("utf-8") if path.is_file() else ""
    if not _PLACE.search(text):
        raise InputError(f"{path} has no lines <!-- models --> and <!-- /models -->.")
    path.write_text(_PLACE.sub(lambda place: place[1] + table + "\n" + place[2], text), "utf-8")


if __name__ == "__main__":
    command.run(main)
