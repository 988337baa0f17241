"""A run is a directory."""

import contextlib
import csv
import fcntl
import json
import os
import pathlib
from collections.abc import Iterable, Iterator

from keras_deit.distillation.execution import is_writer
from keras_deit.errors import InputError
from keras_deit.models import Classifier
from keras_deit.pretrained import create_model
from keras_deit.pretrained.files import whole_or_not_at_all

_CONFIG_KEYS = {
    *("run", "model", "data_dir", "class_names", "crop_ratio", "interpolation"),
    *("teacher", "teacher_contract"),
}


class RunDirectory:
    """The directory of one run: what was asked for, what happened, what came out.

    `config.json` what identifies the run and what later tools need, `metrics.csv` the log by
    epoch, `tensorboard/` its events, `checkpoints/` what a stopped run goes on from,
    `best.weights.h5` the weights of the epoch with the best validation accuracy,
    `final.weights.h5` and `summary.json` the result, `ema.weights.h5` the moving average of the
    weights where one was taken.

    Args:
        path: of the directory; it need not exist.
    """

    def __init__(self, path: str | pathlib.Path):
        self.path = pathlib.Path(path)
        self.lock = self.path / "lock"
        self.config_file = self.path / "config.json"
        self.summary_file = self.path / "summary.json"
        self.metrics_file = self.path / "metrics.csv"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.best_weights = self.path / "best.weights.h5"
        self.final_weights = self.path / "final.weights.h5"
        self.ema_weights = self.path / "ema.weights.h5"

    def check(self, run: dict) -> None:
        """Makes sure that the directory is free for a run, or holds that very run.

        Args:
            run: what identifies the run, nested dictionaries of JSON values.

        Raises:
            InputError: it holds a different run, or files that are no run's.
        """
        if not self.path.exists():
            check_writable(self.config_file)
            return
        if not self.path.is_dir():
            raise InputError(f"{self.path} is not a directory; give another --run_dir.")
        if self.config_file.exists():
            there = flatten(self.read_config()["run"])
            # Through JSON and back, as what it is compared with.
            here = flatten(json.loads(json.dumps(run)))
            keys = sorted(key for key in {*there, *here} if there.get(key) != here.get(key))
            if keys:
                shown = ", ".join(f"{k} {there.get(k)} there, {here.get(k)} here" for k in keys[:5])
                more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
                raise InputError(
                    f"{self.path} holds a different run ({shown}{more}); give another --run_dir."
                )
        elif {path.name for path in self.path.iterdir()} - {
            f"partial-{self.config_file.name}",
            self.lock.name,
        }:
            raise InputError(f"{self.path} holds files that are no run's; give another --run_dir.")
        check_writable(self.config_file)

    def start(self, config: dict) -> None:
        """Makes the directory and writes `config.json`, in the process that writes."""
        if not is_writer():
            return
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.config_file, config)

    def write_metrics(self, history: Iterable[dict]) -> None:
        """Writes `metrics.csv`: a row an epoch, empty where an epoch has no such figure."""
        if not is_writer():
            return
        rows = list(history)
        # What only some epochs have, the validation, comes after what all have.
        columns = list(dict.fromkeys(name for row in rows for name in row))
        with (
            whole_or_not_at_all(self.metrics_file) as partial,
            partial.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)

    def read_config(self) -> dict:
        """What `start` wrote.

        Raises:
            InputError: there is none, or it is not a run's.
        """
        config = _read_json(self.config_file, f"{self.path} is not a run directory")
        missing = sorted(_CONFIG_KEYS - set(config))
        if missing:
            raise InputError(
                f"{self.path} is not a run directory: its {self.config_file.name} has no "
                f"{', '.join(missing)}."
            )
        return config

    def read_summary(self) -> dict | None:
        """The result of a finished run; None while it is not finished."""
        if not self.summary_file.is_file():
            return None
        return _read_json(self.summary_file, f"{self.path} has a broken summary")

    def load_student(self, ema: bool = False) -> Classifier:
        """The student of a finished run, with its final weights or with their moving average.

        Raises:
            InputError: the run is not finished, or its files are broken.
        """
        values = self.read_config()["model"]
        if not self.final_weights.is_file():
            raise InputError(
                f"{self.path} is not finished: it has no {self.final_weights.name}. "
                "The command that started it goes on with it."
            )
        return create_model(**values, weights=self.ema_weights if ema else self.final_weights)

    def finish(self, summary: dict) -> None:
        """Writes `summary.json`, which marks the run as finished."""
        if is_writer():
            write_json(self.summary_file, summary)


def check_writable(path: pathlib.Path) -> None:
    """Makes sure that a file can be written, without writing it or making its folder.

    Raises:
        InputError: the folder it would go to, or the nearest one that there is, cannot be
            written.
    """
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"{path} cannot be written: {folder} is not a folder to write in.")


@contextlib.contextmanager
def writing_alone(path: pathlib.Path) -> Iterator[None]:
    """A context that one process at a time is in that writes; it ends with the process at latest.

    Of several processes that train together, those that do not write only pass through.

    Args:
        path: of the lock's file.

    Raises:
        InputError: another process is in it.
    """
    if not is_writer():
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"Another process is training {path.parent}.") from error
        yield


def flatten(values: dict, prefix: str = "") -> dict:
    """Nested dictionaries as one, by the innermost keys with their way in: {"a.b": 1}."""
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def write_json(path: pathlib.Path, values: dict) -> None:
    """Writes a JSON file so that it is the old one or the new one at any time."""
    with whole_or_not_at_all(path) as partial:
        partial.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _read_json(path: pathlib.Path, complaint: str) -> dict:
    try:
        values = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{complaint}: {path.name} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise InputError(f"{complaint}: {path.name} is not JSON ({error}).") from error
    if not isinstance(values, dict):
        raise InputError(f"{complaint}: {path.name} is not a JSON object.")
    return values
