"""Translates texts by a trained model, and scores translations."""

import pathlib
import unicodedata
from collections.abc import Sequence

import keras
import numpy as np

from keras_deit.core.errors import InputError, corrupt_as_input_error
from keras_deit.sequence.batches import padded_length
from keras_deit.sequence.decoding import END, decode, padded
from keras_deit.sequence.model import SequenceToSequence
from keras_deit.sequence.subwords import Subwords

# The files of a run.
MODEL_FILE, SUBWORDS_FILE = "model.keras", "subwords.model"


class Translator:
    """Translates texts by beam search.

    Args:
        model: trained.
        subwords: those that the model was trained with.
        beams: number of hypotheses that are followed; one is greedy decoding.
        length_penalty: α, as for `decode`.
        batch_size: texts at a time.
    """

    def __init__(
        self,
        model: SequenceToSequence,
        subwords: Subwords,
        beams: int = 4,
        length_penalty: float = 0.6,
        batch_size: int = 32,
    ):
        self.model = model
        self.subwords = subwords
        self.beams = beams
        self.length_penalty = length_penalty
        self.batch_size = batch_size

    @classmethod
    def from_run(cls, run_dir: pathlib.Path, **arguments) -> "Translator":
        """Reads the model and the sub-words of a finished run of `keras-deit translate`.

        Args:
            run_dir: its directory.
            **arguments: further ones of the constructor.

        Raises:
            InputError: there is no finished run, or its files cannot be read.
        """
        path = run_dir / MODEL_FILE
        if not path.is_file():
            raise InputError(
                f"{run_dir} has no {MODEL_FILE}: it holds no finished translation run."
            )
        with corrupt_as_input_error(f"{path} cannot be read"):
            model = keras.saving.load_model(path, compile=False)
        if not isinstance(model, SequenceToSequence):
            raise InputError(f"{path} does not hold a model of sequences.")
        return cls(model, Subwords.read(run_dir / SUBWORDS_FILE), **arguments)

    def translate(self, texts: Sequence[str], shorten: bool = False) -> list[str]:
        """Returns the translations of texts; that of an empty one is empty.

        Args:
            texts: any number of them.
            shorten: whether of a text with more sub-words than the model takes the end is left out.

        Raises:
            InputError: a text has more, and is not to be shortened.
        """
        tokens = self.subwords.encode(texts)
        if not shorten and (too_long := self._too_long(tokens)):
            first = too_long[0]
            raise InputError(
                f"Text {first + 1} has {len(tokens[first])} sub-words, more than the "
                f"{self.longest} that the model takes: {texts[first][:40]!r}..."
            )
        tokens = [each[: self.longest] for each in tokens]
        results = [""] * len(texts)
        # Those of a batch have about the same length.
        order = sorted((i for i, each in enumerate(tokens) if each), key=lambda i: len(tokens[i]))
        rows = min(len(order), self.batch_size)
        for first in range(0, len(order), self.batch_size):
            chosen = order[first : first + self.batch_size]
            found = self._translate([tokens[index] for index in chosen], rows)
            for index, text in zip(chosen, self.subwords.decode(found), strict=True):
                results[index] = text
        return results

    @property
    def longest(self) -> int:
        """The most sub-words of a text that the model takes."""
        return self.model.max_length - 1

    def count_too_long(self, texts: Sequence[str]) -> int:
        """Returns how many texts have more sub-words than the model takes."""
        return len(self._too_long(self.subwords.encode(texts)))

    def _too_long(self, tokens: list[list[int]]) -> list[int]:
        return [index for index, each in enumerate(tokens) if len(each) > self.longest]

    def _translate(self, tokens: list[list[int]], rows: int) -> list[list[int]]:
        """Returns the translations of texts, of which there are at most `rows`."""
        source = padded([[*each, END] for each in tokens])
        count, length = source.shape
        wanted = padded_length(length, self.model.max_length)
        source = np.pad(source, ((0, 0), (0, wanted - length)))
        # The last batch repeats its last text, because JAX compiles for each number of rows.
        source = np.pad(source, ((0, rows - count), (0, 0)), mode="edge")
        found = decode(self.model, source, self.beams, length_penalty=self.length_penalty)
        return found[:count]


def translation_scores(found: Sequence[str], references: Sequence[str]) -> dict:
    """Returns BLEU and chrF by sacreBLEU, 0 to 100, and the share of exact translations.

    A translation is exact if it is the reference in Unicode's form NFKC, however it is spaced.

    Args:
        found, references: one of each for each text.

    Raises:
        InputError: sacreBLEU is not installed.
    """
    bleu = sacrebleu().metrics.BLEU()
    score = bleu.corpus_score(list(found), [list(references)])
    chrf = sacrebleu().corpus_chrf(list(found), [list(references)])
    exact = [_plain(a) == _plain(b) for a, b in zip(found, references, strict=True)]
    return {
        "bleu": round(score.score, 2),
        "chrf": round(chrf.score, 2),
        "exact_match": round(sum(exact) / max(len(exact), 1), 4),
        "examples": len(exact),
        "bleu_signature": str(bleu.get_signature()),
    }


def sacrebleu():
    """Returns the module sacrebleu.

    Raises:
        InputError: it is not installed.
    """
    try:
        import sacrebleu as module
    except ImportError as error:
        raise InputError("BLEU needs sacreBLEU: pip install 'keras-deit[sequence]'.") from error
    return module


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())
