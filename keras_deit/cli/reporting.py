"""The command for the page of a run."""

from keras_deit.evaluation import write_report
from keras_deit.recipes import Option


def report_options() -> list[Option]:
    return [
        Option("run_dir", str, "Directory of a finished run.", required=True),
        Option("compare", "texts", "Directories of other runs to show beside it."),
        Option("output", str, "HTML file to write, instead of report.html in the directory."),
        Option("evaluate", bool, "Whether to evaluate the run again, although it has figures."),
        Option("batch_size", int, "Images at a time.", default=64, minimum=1),
    ]


def report(values: dict) -> None:
    """Writes the page and prints its path."""
    path = write_report(**values)
    print(f"{path}, {path.stat().st_size / 1e6:.1f} MB.")
