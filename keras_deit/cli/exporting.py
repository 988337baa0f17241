"""The command export."""

from keras_deit.core.errors import InputError
from keras_deit.recipes import Option
from keras_deit.serving import (
    FORMATS,
    HEADS,
    MAX_SERVED_PIXELS,
    SAVED_MODEL,
    export_model,
    serving_commands,
)


def export_options() -> list[Option]:
    weights = (
        "Weights of the run: final, best or ema; or, without --run_dir, a file, hf://OWNER/NAME or "
        "a run."
    )
    return [
        Option("run_dir", str, "Directory of a finished run."),
        Option("model", str, "Name of a model, with its released weights or those of --weights."),
        Option("weights", str, weights),
        Option("format", str, f"Formats with commas: {', '.join(FORMATS)}.", default=SAVED_MODEL),
        Option("quantize", str, "Write another file with 8-bit integers, too.", ("int8",)),
        Option("image_size", "sides", "Size of the images; by default that of the model."),
        Option("heads", str, "Head that answers; fused is the mean of all.", HEADS, HEADS[0]),
        Option("dataset", str, "Images for --quantize; by default those of the run."),
        Option("data_dir", str, "Directory of prepared data of TensorFlow Datasets."),
        Option("output_dir", str, "Directory of the served models.", default="savedmodels"),
        Option("name", str, "Name of the served model; by default that of the run or model."),
        Option("top_k", int, "Number of labels that an answer of a SavedModel names.", default=5),
        Option(
            "max_image_pixels",
            int,
            "Most pixels of an image file in a request; a larger one is not decoded.",
            default=MAX_SERVED_PIXELS,
            minimum=1,
        ),
    ]


def export(values: dict) -> None:
    """Exports a model, and prints how a SavedModel is served and asked."""
    if "run_dir" in values and "model" in values:
        raise InputError("Give --run_dir or --model, not both.")
    if not {"run_dir", "model", "weights"} & set(values):
        raise InputError("Give --run_dir, --model or --weights.")
    formats = [name.strip() for name in values.pop("format").split(",")]
    versions = export_model(**values, formats=formats)
    if SAVED_MODEL in versions:
        serve, ask = serving_commands(versions[SAVED_MODEL])
        print(f"\nserve it:\n  {serve}\nask it:\n  {ask}")
