"""How translations are trained: the published recipes, and one for a few thousand pairs."""

import dataclasses

import keras

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.sequence.mixers import check_heads, check_mixer
from keras_deit.sequence.training import InverseSquareRoot, LinearWarmup

OPTIMIZERS = ("adam", "adagrad")


@dataclasses.dataclass(frozen=True)
class SequenceRecipe:
    """How a translation is trained.

    Attributes:
        source: where it is published.
        optimizer: "adagrad", with a constant learning rate after its warm-up; or "adam", whose
            learning rate then falls with 1/√step.
        learning_rate: learning rate at the end of the warm-up.
        warmup_steps: steps of the linear warm-up.
        steps: steps of the training.
        batch_size: pairs in a step.
        label_smoothing: share of the target that the wrong tokens have.
        dropout_rate: rate of the dropout of each part of a block, and of the embeddings.
        mixer: what mixes the positions: "attention" for the Transformer, "linear" for ResMLP.
        width: width of an embedding.
        depth: blocks of the encoder, and of the decoder.
        num_heads: heads of each attention.
        hidden_dim: width between the two feed-forward layers of a block.
        max_length: most sub-words of a text, its start or end included.
        vocabulary: most sub-words of the vocabulary of both languages.
        averaged_checkpoints: after how many of the last validations the weights are averaged; 0 for
            the weights of the lowest validation loss.
    """

    source: str
    optimizer: str = "adam"
    learning_rate: float = 512**-0.5 * 4000**-0.5
    warmup_steps: int = 4000
    steps: int = 100_000
    batch_size: int = 900
    label_smoothing: float = 0.1
    dropout_rate: float = 0.1
    mixer: str = "attention"
    width: int = 512
    depth: int = 6
    num_heads: int = 8
    hidden_dim: int = 2048
    max_length: int = 256
    vocabulary: int = 37_000
    averaged_checkpoints: int = 0

    def __post_init__(self):
        if self.optimizer not in OPTIMIZERS:
            raise unknown_name("optimizer", self.optimizer, OPTIMIZERS)
        check_mixer(self.mixer)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "averaged_checkpoints" else 1
            if field.type is int and value < least:
                raise InputError(f"{field.name} should be {least} or more. Received: {value}")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate should be above 0. Received: {self.learning_rate}")
        for name in ("label_smoothing", "dropout_rate"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} should be in [0, 1). Received: {getattr(self, name)}")
        check_heads(self.width, self.num_heads)

    def build_optimizer(self) -> keras.optimizers.Optimizer:
        """Returns the optimizer with its schedule.

        Adagrad is PyTorch's, on which fairseq is built: its sums begin at 0, where those of Keras
        begin at 0.1, and ε = 1e-10 is added to their square root.
        """
        if self.optimizer == "adagrad":
            # Keras adds its ε to the sum, before the square root.
            return keras.optimizers.Adagrad(
                self.schedule(), initial_accumulator_value=0.0, epsilon=1e-20
            )
        return keras.optimizers.Adam(self.schedule(), beta_1=0.9, beta_2=0.98, epsilon=1e-9)

    def schedule(self) -> keras.optimizers.schedules.LearningRateSchedule:
        """Returns the learning rates by step."""
        kind = LinearWarmup if self.optimizer == "adagrad" else InverseSquareRoot
        return kind(self.learning_rate, self.warmup_steps)

    def model_values(self) -> dict:
        """Returns the arguments of `SequenceToSequence`, without the vocabulary."""
        return {name: getattr(self, name) for name in _OF_MODEL}


_OF_MODEL = ("mixer", "width", "depth", "num_heads", "hidden_dim", "max_length", "dropout_rate")

# 25,000 tokens of source and of target in a step ("Attention is all you need", §5.1) are some 900
# pairs of WMT14. The thesis follows Ott et al. 2018, whose vocabularies they are, and states no
# heads, steps or N_max; here those are the Transformer's.
SEQUENCE_RECIPES = {
    "transformer": SequenceRecipe(
        "Vaswani et al. 2017, §5 and §6.1: WMT14 English-German, base model",
        averaged_checkpoints=5,
    ),
    "resmlp_en_de": SequenceRecipe(
        "Touvron, thesis, §4.3.5: WMT14 English-German",
        optimizer="adagrad",
        learning_rate=0.2,
        warmup_steps=32_000,
        dropout_rate=0.15,
        mixer="linear",
        vocabulary=32_000,
    ),
    "resmlp_en_fr": SequenceRecipe(
        "Touvron, thesis, §4.3.5: WMT14 English-French",
        optimizer="adagrad",
        learning_rate=0.2,
        warmup_steps=32_000,
        dropout_rate=0.1,
        mixer="linear",
        vocabulary=40_000,
    ),
    "small": SequenceRecipe(
        "keras_deit, docs/sequences.md: a few thousand short pairs",
        learning_rate=2e-3,
        warmup_steps=400,
        steps=3000,
        batch_size=64,
        width=64,
        depth=2,
        num_heads=4,
        hidden_dim=256,
        max_length=32,
        vocabulary=500,
    ),
}


def sequence_recipe(name: str) -> SequenceRecipe:
    """Returns a recipe by its name.

    Raises:
        InputError: there is none of this name.
    """
    if name not in SEQUENCE_RECIPES:
        raise unknown_name("recipe of a translation", name, SEQUENCE_RECIPES)
    return SEQUENCE_RECIPES[name]
