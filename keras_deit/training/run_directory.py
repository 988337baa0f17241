"""A run is a directory."""

import json
import os
import pathlib

from keras_deit.errors import InputError
from keras_deit.models import Classifier
from keras_deit.pretrained import create_model

_CONFIG_KEYS = {
    *("run", "model", "data_dir", "class_names", "crop_ratio", "interpolation"),
    *("teacher", "teacher_contract"),
}


class RunDirectory:
    """The directory of one run: what was asked for, what happened, what came out.

    `config.json` what identifies the run and what later tools need, `metrics.csv` the log by
    epoch, `tensorboard/` its events, `checkpoints/last.weights.h5` the last good weights,
    `final.weights.h5` and `summary.json` the result, `ema.weights.h5` the moving average of the
    weights where one was taken.

    Args:
        path: of the directory; it need not exist.
    """

    def __init__(self, path: str | pathlib.Path):
        self.path = pathlib.Path(path)
        self.config_file = self.path / "config.json"
        self.summary_file = self.path / "summary.json"
        self.metrics_file = self.path / "metrics.csv"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoint = self.path / "checkpoints" / "last.weights.h5"
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
        elif any(self.path.iterdir()):
            raise InputError(f"{self.path} holds files that are no run's; give another --run_dir.")
        check_writable(self.config_file)

    def start(self, config: dict) -> None:
        """Makes the directory and writes `config.json`.

        What an earlier attempt at the same run left, one that was stopped, is moved to
        `attempt-1/`, `attempt-2/`, ...
        """
        weights = [self.final_weights, self.ema_weights]
        left = [self.checkpoint.parent, self.metrics_file, self.tensorboard, *weights]
        left = [path for path in left if path.exists()]
        if left:
            numbers = (number for number in range(1, 10**6))
            attempts = (self.path / f"attempt-{number}" for number in numbers)
            attempt = next(path for path in attempts if not path.exists())
            attempt.mkdir()
            for path in left:
                path.rename(attempt / path.name)
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.config_file, config)

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
                f"The weights it last kept are in {self.checkpoint}."
            )
        return create_model(**values, weights=self.ema_weights if ema else self.final_weights)

    def finish(self, summary: dict) -> None:
        """Writes `summary.json`, which marks the run as finished."""
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
    partial = path.with_name(f"partial-{path.name}")
    partial.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")
    os.replace(partial, path)


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
