"""The commands for images without labels: predict and attention."""

import csv
import pathlib
import sys
from collections.abc import Callable

from keras_deit.core.errors import InputError
from keras_deit.core.files import atomic_write, check_writable, user_path
from keras_deit.core.names import printable, readable
from keras_deit.evaluation import KINDS, Prediction, Predictor, attention_picture, write_picture
from keras_deit.recipes import Option

_SHOWN = 32


def source_options() -> list[Option]:
    """Returns the options that name a model."""
    weights = (
        "Weights of the run: final, best or ema; or, without --run_dir, a file or hf:// address."
    )
    return [
        Option("run_dir", str, "Directory of a finished run."),
        Option("model", str, "Name of a model, with its released weights or those of --weights."),
        Option("weights", str, weights),
    ]


def _predictor(values: dict, **arguments) -> Predictor:
    run_dir, model, weights = (values.get(name) for name in ("run_dir", "model", "weights"))
    if run_dir is not None:
        if model is not None:
            raise InputError("Give --run_dir or --model, not both.")
        return Predictor(user_path(run_dir), weights=weights or "final", **arguments)
    if model is None and weights is None:
        raise InputError("Give --run_dir, --model or --weights.")
    return Predictor(weights or model, model if weights else None, **arguments)


def noting(errors: list[InputError]) -> Callable[[InputError], None]:
    """Returns a function that prints why an image cannot be read, and adds it to a list."""

    def note(error: InputError) -> None:
        errors.append(error)
        print(f"not read: {error}", file=sys.stderr)

    return note


def predict_options() -> list[Option]:
    return [
        *source_options(),
        Option("top_k", int, "Number of labels for each image.", default=5, minimum=1),
        Option("csv", str, "File to write the labels into, too; it must not exist."),
        Option("batch_size", int, "Images at a time.", default=32, minimum=1),
    ]


def predict(values: dict) -> None:
    """Prints the labels of images."""
    output = values.get("csv") and user_path(values["csv"])
    if output and output.exists():
        raise InputError(f"{output} exists already; give another --csv.")
    if output:
        check_writable(output)
    predictor = _predictor(values, batch_size=values["batch_size"])
    found, errors = [], []
    width = min(max(len(printable(name)) for name in values["images"]), _SHOWN)
    for prediction in predictor.iterate(values["images"], values["top_k"], noting(errors)):
        print(_line(prediction, width))
        if output:
            found.append(prediction)
    if output and found:
        _write_csv(output, found)
    if errors:
        raise InputError(f"{len(errors)} of the images could not be read.")


def _line(prediction: Prediction, width: int) -> str:
    pairs = zip(prediction.labels, prediction.probabilities, strict=True)
    name = printable(prediction.name)
    return f"{name:{width}}  " + "  ".join(f"{label} {p:.3f}" for label, p in pairs)


def _write_csv(path: pathlib.Path, predictions: list[Prediction]) -> None:
    ranks = range(1, 1 + len(predictions[0].labels))
    columns = [f"{name}_{rank}" for rank in ranks for name in ("label", "probability")]
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *columns])
        for each in predictions:
            pairs = zip(each.labels, each.probabilities, strict=True)
            writer.writerow([readable(each.name), *(value for pair in pairs for value in pair)])


def attention_options() -> list[Option]:
    help_text = "Map: through all blocks, of the class token in the last block, or in --layer."
    return [
        *source_options(),
        Option("kind", str, help_text, KINDS, default="rollout"),
        Option("layer", int, "Index of the block for the kinds class and distillation."),
        Option("output_dir", str, "Folder of the pictures.", default="."),
    ]


def attention(values: dict) -> None:
    """Writes a picture for each image."""
    folder = user_path(values["output_dir"])
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.")
    predictor = _predictor(values, batch_size=1)
    for image in values["images"]:
        path = folder / f"{pathlib.Path(image).stem}_attention.png"
        if path.exists():
            raise InputError(f"{path} exists already; give another --output_dir.")
        check_writable(path)
        picture = attention_picture(predictor, image, values["kind"], values.get("layer"))
        write_picture(path, picture)
        label = ""
        if predictor.has_labels:
            best = predictor.predict(image, 1)[0]
            label = f": {best.label} {best.probability:.3f}"
        print(f"{printable(str(path))}{label}")
