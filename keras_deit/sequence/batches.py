"""Batches of pairs of sequences, each a function of the seed and the number of the step."""

from collections.abc import Iterator, Sequence

import numpy as np

from keras_deit.sequence.model import PADDING
from keras_deit.sequence.training import teacher_forcing

# Pairs of about the same length are looked for among those of so many batches.
_WINDOW = 64
_LENGTH_STEP = 16

# Inputs, labels and the weights of their positions, as `fit` takes them.
Batch = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]


def padded_length(longest: int, max_length: int) -> int:
    """Returns to how many positions a batch is padded: a multiple of 16, as far as the model takes
    them, because JAX compiles for each length."""
    return min(-(-longest // _LENGTH_STEP) * _LENGTH_STEP, max_length)


class PairBatches:
    """Inputs, labels and weights of `fit` for pairs of sequences.

    A pass over the pairs has an order of its own. Within 64 batches of it, pairs of about the same
    length are in one batch, so that little is padded; what is left at the end of a pass has its
    turn in others. All batches have the same number of pairs.

    The weights (batch, positions), 0 where the labels are padded, make Keras's mean over all
    positions that over the tokens of a batch, however many devices share it.

    Args:
        sources, targets: tokens of each pair, without start and end.
        batch_size: pairs of a batch.
        max_length: most positions of a sequence.
        seed: of the orders.

    Attributes:
        steps_per_pass: number of batches; 0 of fewer pairs than a batch has.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        batch_size: int,
        max_length: int,
        seed: int = 0,
    ):
        # As arrays of 4 bytes a token, millions of pairs fit into memory.
        self._sources, self._targets = (
            [np.asarray(row, "int32") for row in rows] for rows in (sources, targets)
        )
        self._lengths = np.array(
            [max(len(a), len(b)) for a, b in zip(sources, targets, strict=True)]
        )
        self._batch_size, self._max_length, self._seed = batch_size, max_length, seed
        self.steps_per_pass = len(sources) // batch_size

    def iterate(self, first: int) -> Iterator[Batch]:
        """Yields the endless batches from number `first` on."""
        number, place = divmod(first, self.steps_per_pass)
        while True:
            for chosen in self._order(number)[place:]:
                yield self._batch(chosen)
            number, place = number + 1, 0

    def once(self) -> Iterator[Batch]:
        """Yields all pairs once, sorted by length; the last batch is filled up with padding.

        By their weights the mean over the batches is that over all tokens.
        """
        order = np.argsort(self._lengths, kind="stable")
        starts = range(0, len(order), self._batch_size)
        # Each target has its end, too.
        tokens = sum(len(target) + 1 for target in self._targets) / max(len(starts), 1)
        for start in starts:
            yield self._batch(order[start : start + self._batch_size], tokens)

    def _order(self, number: int) -> np.ndarray:
        """Returns the pairs of each batch of a pass, (steps, batch_size)."""
        rng = np.random.default_rng((self._seed, number))
        order = rng.permutation(len(self._lengths))[: self.steps_per_pass * self._batch_size]
        rows = []
        for start in range(0, len(order), _WINDOW * self._batch_size):
            window = order[start : start + _WINDOW * self._batch_size]
            window = window[np.argsort(self._lengths[window], kind="stable")]
            rows.append(rng.permutation(window.reshape(-1, self._batch_size)))
        return np.concatenate(rows)

    def _batch(self, chosen: np.ndarray, tokens: float | None = None) -> Batch:
        """Returns a batch, with the weights for the sum over its tokens divided by `tokens`, which
        are by default its own."""
        inputs, labels = teacher_forcing(
            [self._sources[i] for i in chosen], [self._targets[i] for i in chosen]
        )
        longest = max(labels.shape[1], inputs["source"].shape[1])
        shape = (self._batch_size, padded_length(longest, self._max_length))
        inputs, labels = (
            {k: _filled(ids, shape) for k, ids in inputs.items()},
            _filled(labels, shape),
        )
        mask = labels != PADDING
        return inputs, labels, (mask * (mask.size / (tokens or mask.sum()))).astype("float32")


def _filled(ids: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    rows, columns = (wanted - present for wanted, present in zip(shape, ids.shape, strict=True))
    return np.pad(ids, ((0, rows), (0, columns)), constant_values=PADDING)


def fitting(
    sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], max_length: int
) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """Returns the pairs whose sequences have, with their start or end, at most `max_length`
    tokens."""
    kept = [
        (source, target)
        for source, target in zip(sources, targets, strict=True)
        if max(len(source), len(target)) < max_length
    ]
    return [source for source, _ in kept], [target for _, target in kept]
