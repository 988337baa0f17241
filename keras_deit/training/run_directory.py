"""A run is a directory."""

import json
import os
import pathlib

from keras_deit.errors import InputError
from keras_deit.models import Classifier, create_model


class RunDirectory:
    """The directory of one run: what was asked for, what happened, what came out.

    `config.json` what identifies the run and what later tools need, `metrics.csv` the log by
    epoch, `tensorboard/` its events, `checkpoints/last.weights.h5` the last good weights,
    `final.weights.h5` and `summary.json` the result.

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

    def check(self, run: dict) -> None:
        """Makes sure that the directory is free for a run, or holds that very run.

        Args:
            run: what identifies the run, nested dictionaries of JSON values.

        Raises:
            InputError: it holds a different run, or files that are no run's.
        """
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise InputError(f"{self.path} is not a directory; give another --run_dir.")
        if self.config_file.is_file():
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

    def start(self, config: dict) -> None:
        """Makes the directory and writes `config.json`."""
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        self.metrics_file.unlink(missing_ok=True)
        write_json(self.config_file, config)

    def read_config(self) -> dict:
        """What `start` wrote.

        Raises:
            InputError: there is none, or it cannot be read.
        """
        return _read_json(self.config_file, f"{self.path} is not a run directory")

    def read_summary(self) -> dict | None:
        """The result of a finished run; None while it is not finished."""
        if not self.summary_file.is_file():
            return None
        return _read_json(self.summary_file, f"{self.path} has a broken summary")

    def load_student(self) -> Classifier:
        """The student of a finished run, with its final weights.

        Raises:
            InputError: the run is not finished, or its files are broken.
        """
        values = self.read_config()["model"]
        if not self.final_weights.is_file():
            raise InputError(
                f"{self.path} is not finished: it has no {self.final_weights.name}. "
                "The command that started it, given again, finishes it."
            )
        return create_model(**values, weights=self.final_weights)

    def finish(self, summary: dict) -> None:
        """Writes `summary.json`, which marks the run as finished."""
        write_json(self.summary_file, summary)


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
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{complaint}: it has no {path.name}.") from error
    except ValueError as error:
        raise InputError(f"{complaint}: {path.name} is not JSON ({error}).") from error
