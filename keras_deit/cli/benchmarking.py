"""The command benchmark."""

import shlex
import sys

from keras_deit.benchmarking import (
    BACKENDS,
    MODES,
    PEERS,
    PRECISIONS,
    RUNTIMES,
    benchmark,
    csv_table,
    markdown,
    picture,
)
from keras_deit.core.files import check_writable, user_path
from keras_deit.recipes import Option

# Values of several names, which may also stand in one text with commas.
_LISTS = ("models", "precision", "backends", "peers")


def benchmark_options() -> list[Option]:
    return [
        Option("models", "texts", "Names of models; by default that of the recipe digits."),
        Option(
            "mode",
            str,
            "What is measured: the forward pass, a step of training or of hard distillation, "
            "reading JPEG files into augmented batches, or loading weights.",
            MODES,
            default="inference",
        ),
        Option("batch_size", int, "Images of a step.", default=16, minimum=1),
        Option("precision", "texts", f"Precisions: {' '.join(PRECISIONS)}.", default=["float32"]),
        Option(
            "backends",
            "texts",
            f"Backends of this package: {' '.join(BACKENDS)}, by default those that are installed; "
            f"{' '.join(RUNTIMES)} for the exported model on the CPU.",
        ),
        Option(
            "peers",
            "texts",
            f"What to measure beside it: {' '.join(PEERS)}, or NAME=PYTHON with the interpreter "
            "that has it.",
        ),
        Option("teacher", str, "Name of the teacher's model, with --mode distill."),
        Option(
            "images",
            str,
            "Folder with a folder of images for each class, with --mode input; by default some are "
            "made.",
        ),
        Option("image_size", int, "Side of the images in pixels; by default that of each model."),
        Option("rounds", int, "Number of turns of each contender.", default=7, minimum=1),
        Option("steps", int, "Counted steps of a turn.", default=5, minimum=1),
        Option("threads", int, "Number of processor cores and of threads; by default all."),
        Option(
            "tf32", bool, "Whether a GPU computes float32 products in TensorFloat-32.", default=True
        ),
        Option(
            "output", str, "Folder to write benchmark.md, benchmark.csv and benchmark.svg into."
        ),
    ]


def run_benchmark(values: dict) -> None:
    """Prints the tables of a benchmark, and writes them."""
    output = user_path(values.pop("output")) if "output" in values else None
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        check_writable(output / "benchmark.md")
    lists = {
        name: [part for text in value for part in text.split(",")]
        for name, value in values.items()
        if name in _LISTS
    }
    result = benchmark(**{**values, **lists})
    tables = markdown(result, shlex.join(["keras-deit", *sys.argv[1:]]))
    if output is not None:
        files = {"md": tables, "csv": csv_table(result), "svg": picture(result)}
        for suffix, text in files.items():
            (output / f"benchmark.{suffix}").write_text(text, "utf-8")
    print(tables)
