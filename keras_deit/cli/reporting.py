"""The command for the page of a run."""

from keras_deit.evaluation import MAX_IMAGES, write_report
from keras_deit.recipes import Option


def report_options() -> list[Option]:
    return [
        Option("run_dir", str, "Directory of a finished run.", required=True),
        Option("compare", "texts", "Directories of other runs to show beside it."),
        Option(
            *("images", int, "The most images with mistakes to show."),
            default=MAX_IMAGES,
            minimum=0,
        ),
        Option("batch_size", int, "Images at a time.", default=64, minimum=1),
    ]


def report(values: dict) -> None:
    """Writes the page and prints its path."""
    path = write_report(**values)
    print(f"{path}, {path.stat().st_size / 1e6:.1f} MB.")
