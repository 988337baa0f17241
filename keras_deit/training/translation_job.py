"""What a translation is trained on, and how."""

import dataclasses
import pathlib

import keras

from keras_deit.core.errors import InputError
from keras_deit.core.files import read_json
from keras_deit.distributed import Devices
from keras_deit.sequence import Pairs, SequenceRecipe
from keras_deit.training.run import different_values

# What a run was asked for.
CONFIG_FILE = "translation.json"
# What tells that a directory holds another kind of run.
_OF_OTHERS = ("config.json", "summary.json", "checkpoints")
_DATA = ("train", "validation", "test", "languages")


@dataclasses.dataclass(frozen=True)
class TranslationJob:
    """What a translation is trained on, and how.

    Attributes:
        train, validation, test, languages: as for `load_pairs`.
        recipe: with all changes to it.
        epochs: passes over the pairs, instead of the recipe's steps; None for these.
        seed: of the initial weights, the orders of the pairs and the dropout.
        mixed_precision: dtype policy of the training.
        beams: number of hypotheses in the search at the end.
        length_penalty: α, as for `decode`.
        data_dir: directory of TFDS's prepared data; None for its default.
        devices: what to train on, in one process, each device with the whole model.
        checkpoint_seconds: seconds from one checkpoint to the next.
    """

    train: str
    recipe: SequenceRecipe
    validation: str | None = None
    test: str | None = None
    languages: str | None = None
    epochs: int | None = None
    seed: int = 0
    mixed_precision: str = "float32"
    beams: int = 4
    length_penalty: float = 0.6
    data_dir: str | None = None
    devices: Devices = dataclasses.field(default_factory=Devices)
    checkpoint_seconds: float = 300.0

    def __post_init__(self):
        if self.epochs is not None and self.epochs < 1:
            raise InputError(f"epochs should be 1 or more. Received: {self.epochs}")
        if self.beams < 1:
            raise InputError(f"beams should be 1 or more. Received: {self.beams}")
        if not self.length_penalty >= 0:
            raise InputError(f"length_penalty should be 0 or more. Received: {self.length_penalty}")
        devices = self.devices
        if devices.several_processes or devices.model_devices or "model" in devices.strategy:
            raise InputError(
                "A translation trains in one process, with the whole model on each device: "
                "--strategy none, mirrored, data_parallel or tpu."
            )

    def identity(self, pairs: Pairs) -> dict:
        """Returns what a run that resumes must have in common with its beginning.

        The backend belongs to it, because its random numbers differ, and the pairs wherever they
        are.
        """
        values = dataclasses.asdict(self)
        for name in (*_DATA, "data_dir", "devices", "checkpoint_seconds"):
            del values[name]
        recipe = values.pop("recipe")
        del recipe["source"]
        if self.epochs is not None:
            del recipe["steps"]
        own = {"backend": keras.backend.backend(), "pairs_digest": pairs.digest()}
        return {**values, **recipe, **own}

    def config(self, pairs: Pairs) -> dict:
        """Returns what the run keeps of what was asked for."""
        return {
            "format": 1,
            "run": self.identity(pairs),
            "data": {name: getattr(self, name) for name in _DATA},
            "recipe_source": self.recipe.source,
        }


def check_no_other_run(run_dir: pathlib.Path) -> None:
    """Checks that a directory holds no run of another kind.

    Raises:
        InputError: it does.
    """
    found = [name for name in _OF_OTHERS if (run_dir / name).exists()]
    if found and not (run_dir / CONFIG_FILE).is_file():
        raise InputError(
            f"{run_dir} has {', '.join(found)} but no {CONFIG_FILE}: it holds another run. Give "
            "another --run_dir."
        )


def check_same_run(run_dir: pathlib.Path, identity: dict) -> None:
    """Checks that the run in a directory, if there is one, is of this identity.

    Raises:
        InputError: it is not.
    """
    path = run_dir / CONFIG_FILE
    if not path.is_file():
        return
    stored = read_json(path, f"{run_dir} is damaged").get("run", {})
    different = [
        f"{name} {there} there, {here} here"
        for name, (there, here) in different_values(stored, identity).items()
    ]
    if different:
        raise InputError(
            f"{run_dir} holds a different run ({', '.join(different)}); give another --run_dir."
        )
