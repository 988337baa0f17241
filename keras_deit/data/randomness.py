"""Random numbers that depend on the seed and a place in the stream, and on nothing else."""

import functools
from typing import NamedTuple

import numpy as np

_AUTHORS_BLOCK = 256


class KeyedGenerator:
    """One `np.random.Generator`, put at the start of the own sequence of any place.

    Philox is a function of a key and a 256-bit counter; the three numbers of the place are the
    counter's higher words, which leaves every place 2**64 blocks of its own. Moving the counter
    takes less than a microsecond, a new Generator takes 15. Not for several threads at once.

    Args:
        seed: of the run.
        purpose: a number that keeps what is drawn for different purposes independent.
    """

    def __init__(self, seed: int, purpose: int):
        bit_generator = np.random.Philox(np.random.SeedSequence([seed, purpose]))
        self._generator = np.random.Generator(bit_generator)
        self._start = bit_generator.state

    def at(self, first: int, second: int = 0, third: int = 0) -> np.random.Generator:
        """The generator at the start of the place's sequence; the last one given moves too."""
        self._start["state"]["counter"][1:] = third, second, first
        self._generator.bit_generator.state = self._start
        return self._generator


class Sample(NamedTuple):
    """What stands at a place of the training stream."""

    epoch: int
    index: int
    copy: int


class ShuffledStream:
    """The endless stream of examples: epoch after epoch, each in an order of its own.

    With repeated augmentation (Hoffer et al. 2020, "Augment your batch") it is DeiT's sampler: in
    the shuffled order every example follows itself `repeats` times, and the epoch ends after as
    many samples as there are examples, rounded down to a multiple of 256. So it holds one in
    `repeats` examples. Fewer than 256 examples are not rounded: the authors' epoch would be
    empty.

    Grain's shuffle computes every index on its own and takes 18 microseconds for it, more than
    the rest of the work on a small image; a permutation of a million examples takes 20 ms.

    Args:
        num_examples: in the source.
        seed: of the run.
        purpose: see `KeyedGenerator`.
        repeats: samples in a row that are the same example.
    """

    def __init__(self, num_examples: int, seed: int, purpose: int, repeats: int = 1):
        self._num_examples = num_examples
        self._repeats = repeats
        self._seed = seed
        self._purpose = purpose
        self.epoch_length = num_examples
        if repeats > 1 and num_examples >= _AUTHORS_BLOCK:
            self.epoch_length -= num_examples % _AUTHORS_BLOCK

    def __getitem__(self, position: int) -> Sample:
        epoch, place = divmod(position, self.epoch_length)
        order = _order(self._num_examples, self._seed, self._purpose, epoch)
        return Sample(epoch, int(order[place // self._repeats]), place % self._repeats)


# Threads that read ahead may be in different epochs.
@functools.lru_cache(maxsize=4)
def _order(num_examples: int, seed: int, purpose: int, epoch: int) -> np.ndarray:
    return KeyedGenerator(seed, purpose).at(epoch).permutation(num_examples)
