"""Batches of pairs of sequences, each a function of the seed and the number of the step."""

from collections.abc import Iterator, Sequence

import numpy as np

from keras_deit.sequence.model import PADDING
from keras_deit.sequence.training import teacher_forcing

# Pairs of about the same length are looked for among those of so many batches.
_WINDOW = 64
# JAX compiles for each length of a batch.
_LENGTH_STEP = 16


class PairBatches:
    """Inputs and labels of `fit` for pairs of sequences.

    A pass over the pairs has an order of its own. Within 64 batches of it, pairs of about the same
    length are in one batch, so that little is padded; what is left at the end of a pass has its
    turn in others. All batches have the same number of pairs.

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

    def iterate(self, first: int) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        """Yields the endless batches from number `first` on."""
        number, place = divmod(first, self.steps_per_pass)
        while True:
            for chosen in self._order(number)[place:]:
                yield self._batch(chosen)
            number, place = number + 1, 0

    def once(self) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        """Yields all pairs once, sorted by length; the last batch is filled up with padding."""
        order = np.argsort(self._lengths, kind="stable")
        for start in range(0, len(order), self._batch_size):
            yield self._batch(order[start : start + self._batch_size])

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

    def _batch(self, chosen: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        inputs, labels = teacher_forcing(
            [self._sources[i] for i in chosen], [self._targets[i] for i in chosen]
        )
        longest = max(labels.shape[1], inputs["source"].shape[1])
        length = min(-(-longest // _LENGTH_STEP) * _LENGTH_STEP, self._max_length)
        shape = (self._batch_size, length)
        return {name: _filled(ids, shape) for name, ids in inputs.items()}, _filled(labels, shape)


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
