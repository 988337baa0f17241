"""The data of an evaluation: those of a run, or others, with the class indices of the model."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.names import printable
from keras_deit.data import (
    MAX_IMAGE_PIXELS,
    Dataset,
    Relabeled,
    Source,
    full_name,
    is_prepared,
    load_dataset,
    load_evaluation_data,
    say_folder,
    take_examples,
)
from keras_deit.data.folder_files import listed
from keras_deit.data.levels import FOLDERS, with_coarse_labels
from keras_deit.training import Run


@dataclasses.dataclass(frozen=True)
class EvaluatedData:
    """What a model is evaluated on.

    Attributes:
        data: the data, with the class indices of the model.
        own: those on whose validation split temperatures are fitted: of a run its own, also if
            `data` are others; None if they cannot be loaded.
        problem: why they cannot be loaded.
    """

    data: Dataset
    own: Dataset | None
    problem: str = ""

    def calibration(self, print_fn: Callable[[str], None]) -> Source | None:
        """Returns the images to fit temperatures on; None, which is said, if there are none."""
        if self.own is None:
            print_fn(
                "No temperatures: the validation split of the run, on which they are fitted, "
                f"cannot be loaded. {self.problem}"
            )
            return None
        if self.own.validation is None:
            print_fn(
                f"No temperatures: {printable(self.own.name)} has no validation split to fit them "
                "on."
            )
        return self.own.validation

    def with_train(self, split: str) -> tuple[Dataset, str]:
        """Returns data with training images for an objective that compares with these.

        Args:
            split: name of the split of `data` that is evaluated.

        Returns:
            The data and the name of that split in them: those of the run with the split as their
            test split, if `data` have no split train.

        Raises:
            InputError: the data of the run cannot be loaded.
        """
        data = self.data
        if None not in (data.train, data.validation):
            return data, split
        if self.own is None:
            raise InputError(
                f"{printable(data.name)} has no splits train and validation to compare with, and "
                f"those of the run cannot be loaded. {self.problem}"
            )
        return dataclasses.replace(self.own, test=getattr(data, split)), "test"


def data_for_run(
    run: Run,
    name: str | None,
    data_dir: str | None,
    max_pixels: int | None,
    print_fn: Callable[[str], None],
) -> EvaluatedData:
    """Returns data with the class indices of a run, and prints what they are.

    Args:
        run: the run.
        name: name of other data; None for those of the run. Data with the same files are those of
            the run too, because most of their images were trained on.
        data_dir: where prepared data of this name are; None for where the run had its data.
        max_pixels: the most pixels of an image that is decoded; None for that of the run.
        print_fn: called with each line for the user.

    Raises:
        InputError: the data cannot be loaded, or has classes that the run does not have.
    """
    config = run.config
    max_pixels = max_pixels or config.get("max_image_pixels", MAX_IMAGE_PIXELS)
    moved = {**config, "data_dir": data_dir or config["data_dir"]}
    own_name = config["run"]["dataset"]
    other = None
    if name is not None and full_name(name) != own_name:
        other = _load_other(moved, name, max_pixels)
        if _is_copy(other, config):
            print_fn(f"{printable(other.name)} holds the data of the run, with its splits.")
            own_name, other = name, None
    if other is None:
        data = _own_data(moved, own_name, max_pixels)
        say_folder(data, print_fn)
        return EvaluatedData(data, data)
    say_folder(other, print_fn)
    _warn_of_known_images(other, run, print_fn)
    own, problem = None, f"{printable(own_name)} is not prepared here."
    try:
        if is_prepared(own_name, config["data_dir"]):
            own, problem = _own_data(config, own_name, max_pixels), ""
    except InputError as error:
        problem = str(error)
    return EvaluatedData(other, own, problem)


def checked_split(data: Dataset, split: str, policy: str) -> Source:
    """Returns a split, whose files are checked if unreadable ones are not skipped.

    Args:
        data: the data.
        split: "validation" or "test".
        policy: of `BadImages`.

    Raises:
        InputError: there is no such split, or a file cannot be read.
    """
    source = getattr(data, split)
    if source is None:
        raise InputError(f"{data.name} has no {split} split.")
    if policy == "fail" and hasattr(source, "check"):
        source.check()
    return source


def say_absent_classes(
    source: Source, class_names: Sequence[str], print_fn: Callable[[str], None]
) -> None:
    """Says which classes have no images, if the labels are known without reading these."""
    labels = getattr(source, "labels", None)
    if labels is None:
        return
    absent = [class_names[i] for i in np.flatnonzero(~np.isin(range(len(class_names)), labels))]
    if absent:
        print_fn(f"Without images, {len(absent)} of {len(class_names)} classes: {listed(absent)}.")


def relabeled(data: Dataset, new_labels: Sequence[int], class_names: Sequence[str]) -> Dataset:
    """Returns data with other class indices.

    Args:
        data: the data.
        new_labels: the new class index by the old one.
        class_names: names of the classes by their new index.
    """
    sources = {split: Relabeled(getattr(data, split), new_labels) for split in data.examples}
    return dataclasses.replace(data, class_names=tuple(class_names), **sources)


def _is_copy(data: Dataset, config: dict) -> bool:
    """Returns whether data have the same files as those that a run was trained on."""
    stored, found = config.get("data"), data.fingerprint
    if found is None:
        return False
    if not stored:
        # A run of an earlier version: as many images of the same classes.
        same_classes = list(data.class_names) == config["class_names"]
        return same_classes and sum(data.examples.values()) == sum(config["examples"].values())
    return len(found.files) == stored.get("files") and found.digest == stored["digest"]


def _warn_of_known_images(data: Dataset, run: Run, print_fn: Callable[[str], None]) -> None:
    """Says how many files are among the data of the run, most of which it was trained on."""
    if data.fingerprint is None or not run.listing.is_file():
        return
    if known := data.fingerprint.shared_with(run.listing):
        print_fn(
            f"Warning: {known:,} of {len(data.fingerprint.files):,} files have the contents of "
            "files among the data of the run, most of which it was trained on: the figures are not "
            "those of new images."
        )


def _own_data(config: dict, name: str, max_pixels: int) -> Dataset:
    """Returns the data of a run, which may lie at another place, as for its training."""
    identity = config["run"]
    # What is unreadable in other splits does not matter here.
    data = load_dataset(
        *(name, config["data_dir"], "skip", identity.get("test_share"), max_pixels),
        *(config.get("exif_orientation", False), identity.get("coarse")),
    )
    if (examples := identity.get("train_examples")) is not None:
        data = dataclasses.replace(data, train=take_examples(data.train, examples))
    wanted = config["class_names"]
    if list(data.class_names) == wanted:
        return data
    different = sorted({*wanted} ^ {*data.class_names})
    if different or len(wanted) != data.num_classes:
        raise InputError(
            f"{data.name} has other classes than the run. Only one of the two has: "
            f"{listed(different)}."
        )
    return relabeled(data, [wanted.index(each) for each in data.class_names], wanted)


def _load_other(config: dict, name: str, max_pixels: int) -> Dataset:
    """Returns other data with the class indices of a run, the fine ones too if it has these."""
    load = functools.partial(
        load_evaluation_data,
        *(name, config["data_dir"], max_pixels, config.get("exif_orientation", False)),
    )
    grouping, fine = config["run"].get("coarse"), config.get("fine_class_names", [])
    data = None
    if grouping == FOLDERS:
        # Other data may have the coarse classes only.
        with contextlib.suppress(InputError):
            data = load(two_deep=True)
        if data is not None and not {*data.class_names} <= {*fine}:
            data = None
    data = load() if data is None else data
    if {*data.class_names} <= {*fine}:
        return with_coarse_labels(_in_order(data, fine), grouping)
    return _in_order(data, config["class_names"])


def _in_order(data: Dataset, wanted: list[str]) -> Dataset:
    """Returns data with the class indices of a run.

    Raises:
        InputError: the run does not have all classes.
    """
    if unknown := [each for each in data.class_names if each not in wanted]:
        raise InputError(
            f"{data.name} has other classes than the run, which does not know {len(unknown)} of "
            f"them: {listed(unknown)}."
        )
    if list(data.class_names) == wanted:
        return data
    return relabeled(data, [wanted.index(each) for each in data.class_names], wanted)
