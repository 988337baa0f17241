"""Sub-words, by SentencePiece: one vocabulary for both languages."""

import io
import pathlib
from collections.abc import Iterable, Sequence

from keras_deit.core.errors import InputError, first_line
from keras_deit.core.files import atomic_write
from keras_deit.sequence.decoding import END, START
from keras_deit.sequence.model import PADDING

# SentencePiece learns from so many texts, chosen at random, because it holds them in memory.
_MAX_TEXTS = 2_000_000
# Longer texts, in bytes, are not learned from.
_MAX_BYTES = 16_384


class Subwords:
    """A vocabulary of sub-words: byte pair encoding, with texts in Unicode's form NFKC.

    Token 0 is padding, 1 the start and 2 the end of a text, and 3 an unknown character.

    Args:
        model: what SentencePiece has learned, as it writes it.

    Raises:
        InputError: SentencePiece is not installed, or `model` is not one of it.
    """

    def __init__(self, model: bytes):
        self.model = model
        try:
            self._processor = _sentencepiece().SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise InputError(f"The sub-words cannot be read: {first_line(error)}.") from error

    @classmethod
    def learn(cls, texts: Iterable[str], vocabulary: int, seed: int = 0) -> "Subwords":
        """Learns sub-words from texts.

        Args:
            texts: of both languages.
            vocabulary: most tokens; of a few texts there are fewer.
            seed: of the choice among millions of texts.

        Raises:
            InputError: SentencePiece is not installed, or the vocabulary does not hold the
                characters of the texts.
        """
        sentencepiece = _sentencepiece()
        sentencepiece.set_random_generator_seed(seed)
        written = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(texts),
                model_writer=written,
                model_type="bpe",
                vocab_size=vocabulary,
                hard_vocab_limit=False,
                character_coverage=1.0,
                input_sentence_size=_MAX_TEXTS,
                shuffle_input_sentence=True,
                max_sentence_length=_MAX_BYTES,
                pad_id=PADDING,
                bos_id=START,
                eos_id=END,
                unk_id=3,
                minloglevel=2,
            )
        except RuntimeError as error:
            # The file and the line of the check come before the reason.
            reason = first_line(error).rpartition("] ")[2] or first_line(error)
            raise InputError(
                f"No vocabulary of {vocabulary} sub-words can be learned: {reason}"
            ) from error
        return cls(written.getvalue())

    @classmethod
    def read(cls, path: pathlib.Path) -> "Subwords":
        """Reads a file.

        Raises:
            InputError: it cannot be read.
        """
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from error

    def write(self, path: pathlib.Path) -> None:
        """Writes a file, as SentencePiece does, atomically."""
        with atomic_write(path) as partial:
            partial.write_bytes(self.model)

    def __len__(self) -> int:
        return self._processor.get_piece_size()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the tokens of texts, without start and end."""
        return self._processor.encode(list(texts), out_type=int)

    def decode(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """Returns the texts of tokens."""
        return self._processor.decode([list(map(int, each)) for each in tokens]) if tokens else []


def _sentencepiece():
    try:
        import sentencepiece
    except ImportError as error:
        raise InputError(
            "Sub-words need SentencePiece: pip install 'keras-deit[sequence]'."
        ) from error
    return sentencepiece
