"""A study of seeds: the figures of runs that differ in nothing but their seed."""

import os
import pathlib
import re
from collections.abc import Iterable, Sequence

import numpy as np

from keras_deit.core.errors import InputError, corrupt_as_input_error
from keras_deit.core.files import read_json, user_path, write_json
from keras_deit.evaluation.page import split_of
from keras_deit.training import Run

FORMAT = 1
STUDY_FILE = "seeds.json"

# START:STOP and START:STOP:STEP as in a slice of Python, or one seed.
_SEEDS = re.compile(r"(\d+)(?::(\d+)(?::(\d+))?)?")
# The last seed that NumPy and the backends take.
_MOST = 2**32 - 1


def parse_seeds(text: str | Iterable[int]) -> list[int]:
    """Returns seeds in increasing order.

    Args:
        text: ranges and numbers with commas between them; "0:10" is 0 to 9, "0:10:2" is 0, 2, 4, 6,
            8, as in Python. Or the numbers themselves.

    Raises:
        InputError: it is something else, there is no seed, or one is named twice.
    """
    complaint = (
        'seeds should be a range such as 0:10, which is 0 to 9, or "0,3,10:20" for several. '
        f"Received: {text!r}"
    )
    parts = text.split(",") if isinstance(text, str) else [str(seed) for seed in text]
    seeds = []
    for part in parts:
        found = _SEEDS.fullmatch(part.strip())
        if found is None:
            raise InputError(complaint)
        start, stop, step = (number and int(number) for number in found.groups())
        stop = start + 1 if stop is None else stop
        if step == 0 or stop <= start:
            raise InputError(f"{complaint}, of which {part!r} has no seed")
        if stop - 1 > _MOST:
            raise InputError(f"A seed should be {_MOST} or less. Received: {part!r}")
        seeds += range(start, stop, step or 1)
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if twice or not seeds:
        raise InputError(
            f"{complaint}, which names {seeds_text(twice)} twice" if twice else complaint
        )
    return sorted(seeds)


def seeds_text(seeds: Sequence[int]) -> str:
    """Returns seeds in increasing order as `parse_seeds` reads them: "0:10,12"."""
    parts, rest = [], list(seeds)
    while rest:
        count = 1
        while count < len(rest) and rest[count] == rest[0] + count:
            count += 1
        parts.append(
            f"{rest[0]}:{rest[0] + count}" if count > 2 else ",".join(map(str, rest[:count]))
        )
        rest = rest[count:]
    return ",".join(parts)


class Study:
    """The directory of a study: `seeds.json`, and of each seed a run and what it has printed.

    Args:
        path: path of the directory; it need not exist.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = user_path(path)
        self.file = self.path / STUDY_FILE
        self.lock = self.path / "lock"

    def run(self, seed: int) -> Run:
        """Returns the run of a seed, which need not exist."""
        return Run(self.path / f"seed_{seed}")

    def log(self, seed: int) -> pathlib.Path:
        """Returns the file of what the process of a seed has printed."""
        return self.path / f"seed_{seed}.log"

    @property
    def config(self) -> dict:
        """What `seeds.json` holds.

        Raises:
            InputError: there is no such file, or it is corrupt or of a newer version.
        """
        complaint = f"{self.path} is not a study of seeds"
        if not self.file.is_file() and Run(self.path).config_file.is_file():
            raise InputError(
                f"{self.path} is a run of one seed; keras-deit train --seeds trains several."
            )
        values = read_json(self.file, complaint)
        with corrupt_as_input_error(f"{self.path} has a corrupt {STUDY_FILE}"):
            if values["format"] > FORMAT:
                raise InputError(f"{self.path} was written by a newer version of keras_deit.")
            values["seeds"] = [int(seed) for seed in values["seeds"]]
            values["results"] = {int(seed): dict(row) for seed, row in values["results"].items()}
            values["figures"] = figure_table(values["results"])
        return values

    def write(self, config: dict) -> None:
        """Writes `seeds.json` with the figures of the results."""
        results = dict(sorted(config["results"].items()))
        config = {**config, "results": results, "figures": figure_table(results)}
        write_json(self.file, {"format": FORMAT, **config})


def load_study(path: str | os.PathLike) -> Study:
    """Returns a study by its directory.

    Raises:
        InputError: it is not that of a study.
    """
    study = Study(path)
    _ = study.config
    return study


def same_data(one: dict, other: dict) -> bool:
    """Returns whether two studies or runs have the same data, as far as that is known.

    Args:
        one, other: the configurations of the studies or the runs.
    """
    if one.get("data") and other.get("data"):
        return one["data"]["digest"] == other["data"]["digest"]
    names = {config["run"]["dataset"] for config in (one, other)}
    return len(names) == 1 and all(one[n] == other[n] for n in ("class_names", "examples"))


def run_figures(run: Run) -> dict[str, float]:
    """Returns the figures of a finished run: those of the weights at its end, no teacher's.

    They have the names of `summary.json` with dots between, such as `test.fused.top1`, and those of
    the last validation the names of `metrics.csv`, such as `val_accuracy`.

    Raises:
        InputError: its files are corrupt.
    """
    summary = run.summary
    split = split_of(summary)
    scores = {
        f"{part}.{row}.{figure}": value
        for part in (split, f"{split}_ema")
        for row, figures in summary.get(part, {}).items()
        for figure, value in figures.items()
        if row != "teacher"
    }
    last = run.history[-1] if run.history else {}
    return {**scores, **{n: v for n, v in last.items() if n.startswith("val_")}}


def figure_table(results: dict[int, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Returns mean, std, min and max of each figure that all seeds have.

    The standard deviation is that of a sample, with n - 1; of one seed there is none.
    """
    rows = list(results.values())
    names = [name for name in rows[0] if all(name in row for row in rows)] if rows else []
    return {name: _statistics(np.array([row[name] for row in rows])) for name in names}


def _statistics(values: np.ndarray) -> dict[str, float]:
    return {
        "mean": float(np.mean(values)),
        "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "min": float(np.min(values)),
        "max": float(np.max(values)),
    }


def main_figures(names: Iterable[str]) -> list[str]:
    """Returns the figures that two studies are compared by, of all names.

    It is the top-1 of the mean of the heads on the reported split and the accuracy of the last
    validation; of an objective that has neither, every score of the reported split.
    """
    names = list(names)
    chosen = [n for n in names if n.endswith(".fused.top1") or n == "val_accuracy"]
    return chosen or [name for name in names if "." in name] or names


def study_table(study: Study) -> str:
    """Returns mean, std, min and max of each figure of a study, as lines of text."""
    config = study.config
    figures = config["figures"]
    width = max(map(len, figures), default=0)
    lines = [f"Seeds {seeds_text(sorted(config['results'])) or 'none'} of {study.path}:"]
    lines.append(f"{'':{width}}" + "".join(f"{name:>9}" for name in ("mean", "std", "min", "max")))
    for name, row in figures.items():
        cells = (f"{'-':>9}" if value is None else f"{value:9.4f}" for value in row.values())
        lines.append(f"{name:{width}}{''.join(cells)}")
    return "\n".join(lines)
