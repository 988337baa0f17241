"""The directory of a run: its configuration, log, weights and result."""

import csv
import pathlib
from collections.abc import Iterable

from keras_deit.core.errors import InputError, first_line, unknown_name
from keras_deit.core.files import (
    atomic_write,
    check_writable,
    file_digest,
    is_temporary,
    read_json,
    user_path,
    write_json,
)
from keras_deit.core.processes import addressable, is_writer
from keras_deit.data import Dataset, load_dataset
from keras_deit.models import Classifier
from keras_deit.pretrained import create_model
from keras_deit.pretrained.own_weights import (
    OWN_SUFFIX,
    RUN_WEIGHTS,
    WEIGHT_FILES,
    check_run_file,
    check_sizes,
    file_digests,
    missing_weights,
    stored_digests,
)
from keras_deit.pretrained.weights_file import open_weights, write_weights
from keras_deit.training.changes import LISTING, changes_by_count, changes_since
from keras_deit.training.configuration import read_config
from keras_deit.training.earlier_formats import NOT_IN_FORMAT_1
from keras_deit.training.extension import length_to_extend
from keras_deit.training.identity import FORMAT
from keras_deit.training.job import Job


class Run:
    """The directory of one run: what was asked for, what happened, what came out.

    It holds `config.json` (the identity of the run and what later tools need), `data.json.gz` (the
    files of its data), `steps.json` (how many steps fit into its minutes, if it has them),
    `metrics.csv` (the log by epoch), `train.log` (what was said, with the time), `tensorboard/`
    (its events), `checkpoints/` (what a stopped run resumes from), `best.weights.h5` (of the epoch
    with the best validation figure), `final.weights.h5` and `summary.json` (the result),
    `ema.weights.h5` (the moving average, if there is one), `final.embedder.keras` and
    `best.embedder.keras` (the model from features to embeddings, if the objective has one),
    `evaluation.json` and `mistakes.json` (the figures of an evaluation and its worst answers, once
    there was one), and `report.html`.

    Args:
        path: path of the directory; it need not exist.
    """

    def __init__(self, path: str | pathlib.Path):
        self.path = user_path(path)
        self.lock = self.path / "lock"
        self.config_file = self.path / "config.json"
        self.summary_file = self.path / "summary.json"
        self.evaluation_file = self.path / "evaluation.json"
        self.metrics_file = self.path / "metrics.csv"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.steps_file = self.path / "steps.json"
        self.listing = self.path / LISTING
        self.log_file = self.path / "train.log"
        self.evaluation_file = self.path / "evaluation.json"
        self.mistakes_file = self.path / "mistakes.json"
        self.report_file = self.path / "report.html"
        self.best_weights = self.path / RUN_WEIGHTS["best"]
        self.final_weights = self.path / RUN_WEIGHTS["final"]
        self.ema_weights = self.path / RUN_WEIGHTS["ema"]

    @property
    def config(self) -> dict:
        """What `start` wrote, in the present format.

        Raises:
            InputError: there is no `config.json`, it is not that of a run, or it is not what the
                summary of a finished run has the digest of.
        """
        return read_config(self.config_file)

    @property
    def summary(self) -> dict | None:
        """The result of a finished run; None while it is not finished.

        Raises:
            InputError: `summary.json` is corrupt.
        """
        if not self.summary_file.is_file():
            return None
        complaint = f"{self.path} has a corrupt summary"
        values = read_json(self.summary_file, complaint)
        if not any(isinstance(values.get(split), dict) for split in ("test", "validation")):
            raise InputError(f"{complaint}: {self.summary_file.name} has no scores.")
        return values

    @property
    def history(self) -> list[dict[str, float]]:
        """The log by epoch: what `metrics.csv` holds, without the figures that an epoch lacks.

        Raises:
            InputError: it is corrupt.
        """
        if not self.metrics_file.is_file():
            return []
        check_run_file(self.metrics_file)
        try:
            with self.metrics_file.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            return [{name: float(value) for name, value in row.items() if value} for row in rows]
        except (OSError, TypeError, ValueError, csv.Error) as error:
            raise InputError(
                f"{self.path} has a corrupt {self.metrics_file.name} ({first_line(error)})."
            ) from error

    def model(self, weights: str = "final", dtype: str | None = None) -> Classifier:
        """Returns the model of a finished run.

        Args:
            weights: "final"; "best" for the epoch with the best validation; or "ema" for the moving
                average.
            dtype: dtype policy, such as "float32"; None for that of the training.

        Raises:
            InputError: the run is not finished or has no such weights, or its files are corrupt.
        """
        if weights not in RUN_WEIGHTS:
            raise unknown_name("weights of a run", weights, RUN_WEIGHTS)
        values = self.config["model"] | ({"dtype": dtype} if dtype else {})
        path = self.path / RUN_WEIGHTS[weights]
        unfinished = self.summary is None and not self.final_weights.is_file()
        if unfinished or not path.is_file():
            raise missing_weights(self.path, "final" if unfinished else weights)
        check_run_file(path)
        check_sizes(values, path)
        return create_model(**values, weights=path)

    def lost_weights(self) -> list[str]:
        """Returns which files of weights and embedders of a finished run are gone or not what was
        written."""
        digests = stored_digests(self.path)
        # Earlier versions have written none.
        names = digests or [self.final_weights.name]
        return [
            name
            for name in names
            if name in WEIGHT_FILES and not _is_whole(self.path / name, digests.get(name))
        ]

    def check_restorable(self, lost: Iterable[str]) -> None:
        """Checks that there is a checkpoint to write lost weights again from.

        Raises:
            InputError: there is none.
        """
        if not any(self.checkpoints.glob("epoch-*")):
            left = sorted(path.name for path in self.path.glob(f"*{OWN_SUFFIX}"))
            left = ", ".join(name for name in left if name not in lost) or "none"
            raise InputError(
                f"{self.path} is finished, but {', '.join(lost)} is gone or damaged, and there is "
                f"no checkpoint to write it again from. Of the weights there are: {left}. Another "
                "--run_dir trains again."
            )

    def changes_of_data(self, dataset: Dataset) -> str:
        """Returns in what the data of the run have changed, in words; empty if they have not.

        Of data without a fingerprint, and for a run of an earlier version, only the classes and the
        numbers of images are compared.

        Args:
            dataset: the data now.
        """
        stored = self.config
        if stored.get("data") and dataset.fingerprint is not None:
            return changes_since(dataset, self.listing, stored["data"]["digest"])
        if "examples" not in stored:
            return ""
        return changes_by_count(stored["class_names"], stored["examples"], dataset)

    def holds_same_data(self, job: Job) -> bool:
        """Returns whether the folder of a job is a copy of that of this run."""
        if not self.config_file.is_file():
            return False
        stored, folder = self.config, "folder:"
        if not (stored.get("data") and stored["run"]["dataset"].startswith(folder)):
            return False
        if not job.dataset.startswith(folder) or job.dataset == stored["run"]["dataset"]:
            return False
        dataset = load_dataset(job.dataset, None, "skip", job.test_share)
        return dataset.fingerprint.digest == stored["data"]["digest"]

    def check_teacher(self, contract: dict) -> None:
        """Checks that a teacher takes and returns what the one of the run here does.

        Args:
            contract: its contract, and `class_order`, as JSON values.

        Raises:
            InputError: it does not.
        """
        config = self.config
        if config["teacher_contract"] is None:
            return
        order = config.get("teacher_class_order")
        there, here = (
            flatten({**config["teacher_contract"], "class_order": order}),
            flatten(contract),
        )
        different = [
            f"{key} {there.get(key)} there, {here.get(key)} here"
            for key in sorted({*there, *here})
            if there.get(key) != here.get(key)
        ]
        if different:
            raise InputError(
                f"{self.path} was started with a teacher that takes or returns something else "
                f"({', '.join(different[:5])}); give another --run_dir."
            )

    def length_to_extend(self, identity: dict) -> str | None:
        """Returns the epochs, steps or minutes of the run here, if an identity has more of them,
        see `extension.length_to_extend`.

        Args:
            identity: as for `check`.
        """
        if not self.config_file.is_file():
            return None
        return length_to_extend(self.config["run"], identity, {*self._differences(identity)})

    def _differences(self, identity: dict) -> dict[str, str]:
        """Returns the names of the values that differ from the run here, with both values."""
        config = self.config
        if config.get("format", 1) == 1:
            flat = flatten(identity).items()
            identity = {k: v for k, v in flat if k not in NOT_IN_FORMAT_1}
        return {
            name: f"{name} {there} there, {here} here"
            for name, (there, here) in different_values(config["run"], identity).items()
        }

    def check(self, identity: dict, extend: bool = False) -> None:
        """Checks that the directory is free for a run, or holds that very run.

        Args:
            identity: identity of the run, nested dictionaries of JSON values.
            extend: whether it may be shorter.

        Raises:
            InputError: it holds a different run, or files that do not belong to a run; or there is
                nothing to extend.
        """
        if extend and not self.config_file.is_file():
            raise InputError(
                f"{self.path} is not a run that --extend could train on: name the run by --run_dir."
            )
        if not self.path.exists():
            check_writable(self.config_file)
            return
        if not self.path.is_dir():
            raise InputError(f"{self.path} is not a directory; give another --run_dir.")
        if self.config_file.exists():
            different = list(self._differences(identity).values())
            longer = self.length_to_extend(identity) is not None
            if different and not (longer and extend):
                more = f" and {len(different) - 5} more" if len(different) > 5 else ""
                instead = ", or --extend to train it on" if longer else ""
                raise InputError(
                    f"{self.path} holds a different run ({', '.join(different[:5])}{more}); give "
                    f"another --run_dir{instead}."
                )
            if longer and not any(self.checkpoints.glob("epoch-*")):
                raise InputError(f"{self.path} has no checkpoint any more from which to extend it.")
        elif any(
            # An earlier version named its unfinished files otherwise.
            path.name
            not in (
                f"partial-{self.config_file.name}",
                *(self.lock.name, self.steps_file.name, self.listing.name, self.log_file.name),
            )
            and not is_temporary(path.name)
            for path in self.path.iterdir()
        ):
            raise InputError(
                f"{self.path} holds files that do not belong to a run; give another --run_dir."
            )
        check_writable(self.config_file)

    def start(self, config: dict, dataset: Dataset | None = None) -> None:
        """Creates the directory, lists the data and writes `config.json`, in the process that
        writes."""
        if is_writer():
            self.path.mkdir(parents=True, exist_ok=True)
            if dataset is not None and dataset.fingerprint is not None:
                dataset.fingerprint.save(self.listing)
            write_json(self.config_file, {"format": FORMAT, **config})

    def write_metrics(self, history: Iterable[dict]) -> None:
        """Writes `metrics.csv`: a row for each epoch, empty where it has no such figure."""
        if is_writer():
            write_rows(self.metrics_file, list(history))

    def save_weights(self, model: Classifier, path: pathlib.Path) -> None:
        """Writes a `.weights.h5` file atomically, in the process that writes."""
        if is_writer():
            with addressable(model.weights):
                write_weights(model, path)

    def reopen(self) -> None:
        """Removes `summary.json`, so that the run is not finished any more."""
        if is_writer():
            self.summary_file.unlink(missing_ok=True)

    def finish(self, summary: dict, lost: Iterable[str] = ()) -> None:
        """Writes `summary.json`, which marks the run as finished, with digests of its files.

        Args:
            summary: figures by name.
            lost: files that are not what they were when the run was finished before.
        """
        if is_writer():
            before = {name: summary["digests"][name] for name in lost}
            digests = {**file_digests(self.path), **before}
            write_json(self.summary_file, {**summary, "digests": digests})


def load_run(path: str | pathlib.Path) -> Run:
    """Returns a run by its directory.

    Raises:
        InputError: it is not the directory of a run.
    """
    run = Run(path)
    _ = run.config
    return run


def write_rows(path: pathlib.Path, rows: list[dict]) -> None:
    """Writes a CSV file, with figures that only some rows have, as those of a validation, last."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _is_whole(path: pathlib.Path, digest: str | None) -> bool:
    """Returns whether a weight file is there and has its digest or, without one, can be opened."""
    if not path.is_file():
        return False
    if digest is not None:
        return digest == file_digest(path)
    try:
        with open_weights(path):
            return True
    except Exception:  # h5py raises anything for a corrupt file
        return False


def flatten(values: dict, prefix: str = "") -> dict:
    """Returns nested dictionaries as one: {"a": {"b": 1}} as {"a.b": 1}."""
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def different_values(there: dict, here: dict) -> dict[str, tuple]:
    """Returns the values of two identities that differ, by their names: "optimization.epochs".

    Args:
        there, here: nested dictionaries of JSON values that differ from the defaults.
    """
    stored, wanted = flatten(there), flatten(here)
    return {
        key: tuple(values.get(key, "the default") for values in (stored, wanted))
        for key in sorted({*stored, *wanted})
        if stored.get(key) != wanted.get(key)
    }
