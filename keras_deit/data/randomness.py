"""Random numbers that depend on the seed and a position in the stream, and on nothing else."""

import functools

import numpy as np


class KeyedGenerator:
    """One `np.random.Generator`, put at the start of the own sequence of any position.

    Philox is a function of a key and a 256-bit counter; the position is the counter's highest
    word, which leaves every position 2**192 blocks of its own. Moving the counter takes less
    than a microsecond, a new Generator takes 15. Not for several threads at once.

    Args:
        seed: of the run.
        purpose: a number that keeps what is drawn for different purposes independent.
    """

    def __init__(self, seed: int, purpose: int):
        bit_generator = np.random.Philox(np.random.SeedSequence([seed, purpose]))
        self._generator = np.random.Generator(bit_generator)
        self._start = bit_generator.state

    def at(self, position: int) -> np.random.Generator:
        """The generator at the start of the position's sequence; the last one given moves too."""
        self._start["state"]["counter"][3] = position
        self._generator.bit_generator.state = self._start
        return self._generator


class ShuffledStream:
    """The endless stream of example indices: epoch after epoch, each in an order of its own.

    Grain's shuffle computes every index on its own and takes 18 microseconds for it, more than
    the rest of the work on a small image; a permutation of a million examples takes 20 ms.

    Args:
        num_examples: in an epoch.
        seed: of the run.
        purpose: see `KeyedGenerator`.
    """

    def __init__(self, num_examples: int, seed: int, purpose: int):
        self._num_examples = num_examples
        self._seed = seed
        self._purpose = purpose
        # Threads that read ahead may be in different epochs.
        self._order = functools.lru_cache(maxsize=4)(self._draw_order)

    def __getitem__(self, position: int) -> int:
        epoch, place = divmod(position, self._num_examples)
        return int(self._order(epoch)[place])

    def _draw_order(self, epoch: int) -> np.ndarray:
        rng = KeyedGenerator(self._seed, self._purpose).at(epoch)
        return rng.permutation(self._num_examples)
