"""What a translation is trained on, and how."""

import dataclasses

from keras_deit.core.errors import InputError
from keras_deit.distributed import Devices
from keras_deit.sequence import Pairs, SequenceRecipe


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
        devices: what to train on.
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

    def identity(self, pairs: Pairs) -> dict:
        """Returns what a run that resumes must have in common with its beginning."""
        values = dataclasses.asdict(self)
        for name in ("data_dir", "devices", "checkpoint_seconds"):
            del values[name]
        recipe = values.pop("recipe")
        del recipe["source"]
        if self.epochs is not None:
            del recipe["steps"]
        return {**values, **recipe, "pairs_digest": pairs.digest()}
