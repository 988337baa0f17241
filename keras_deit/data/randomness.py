"""Random numbers that depend only on the seed and a position in the training stream."""

import functools
from typing import NamedTuple

import numpy as np

from keras_deit.data.balance import ClassGroups, Order

# DeiT's sampler rounds the length of an epoch down to a multiple of this.
_EPOCH_MULTIPLE = 256


class KeyedGenerator:
    """A `np.random.Generator` that can be set to the start of the sequence of any position.

    Philox is a function of a key and a 256-bit counter. The three numbers of a position are the
    counter's higher words, so every position has its own 2**64 blocks of random numbers. Setting
    the counter takes less than a microsecond, making a new Generator takes 15. Not thread-safe.

    Args:
        seed: the seed of the run.
        purpose: a number for each purpose, so that its random numbers are independent of others.
    """

    def __init__(self, seed: int, purpose: int):
        bit_generator = np.random.Philox(np.random.SeedSequence([seed, purpose]))
        self._generator = np.random.Generator(bit_generator)
        self._start = bit_generator.state

    def at(self, first: int, second: int = 0, third: int = 0) -> np.random.Generator:
        """Returns the generator, set to the start of a position's sequence.

        It is the same object each time, so a generator returned before is set to it too.
        """
        self._start["state"]["counter"][1:] = third, second, first
        self._generator.bit_generator.state = self._start
        return self._generator


class Sample(NamedTuple):
    """An element of the training stream.

    Attributes:
        epoch: the epoch.
        index: the index of the example in its source.
        copy: the number of the copy under repeated augmentation, from 0.
        occurrence: how often the example, with all its copies, has occurred in this epoch before.
    """

    epoch: int
    index: int
    copy: int
    occurrence: int = 0


class ShuffledStream:
    """The endless stream of training examples, shuffled in a different order in every epoch.

    With repeated augmentation (Hoffer et al. 2020, "Augment your batch") it is DeiT's sampler:
    every example of the shuffled order is repeated `repeats` times in a row, and an epoch has as
    many samples as there are examples, rounded down to a multiple of 256. So an epoch contains one
    in `repeats` examples. Fewer than 256 examples are not rounded down, because that would be an
    empty epoch.

    Grain's shuffle takes 18 microseconds for an index, more than the rest of the work on a small
    image; a permutation of a million examples takes 20 ms.

    Args:
        num_examples: the number of examples in the source.
        seed: the seed of the run.
        purpose: as for `KeyedGenerator`.
        repeats: the number of times that an example is repeated.
        groups: the examples by class, if each class is to be drawn equally often; an epoch has
            then as many samples as otherwise, see `ClassGroups.draw`.
    """

    def __init__(
        self,
        num_examples: int,
        seed: int,
        purpose: int,
        repeats: int = 1,
        groups: ClassGroups | None = None,
    ):
        self._num_examples = num_examples
        self._repeats = repeats
        self._seed = seed
        self._purpose = purpose
        self._groups = groups
        self.epoch_length = num_examples
        if repeats > 1 and num_examples >= _EPOCH_MULTIPLE:
            self.epoch_length -= num_examples % _EPOCH_MULTIPLE

    def __getitem__(self, position: int) -> Sample:
        epoch, step = divmod(position, self.epoch_length)
        order = _order(self._num_examples, self._seed, self._purpose, epoch, self._groups)
        place, copy = divmod(step, self._repeats)
        occurrences = order.occurrences
        occurrence = 0 if occurrences is None else int(occurrences[place])
        return Sample(epoch, int(order.indices[place]), copy, occurrence)


# Cached for several epochs, because threads that prefetch can be in different ones.
@functools.lru_cache(maxsize=4)
def _order(
    num_examples: int, seed: int, purpose: int, epoch: int, groups: ClassGroups | None
) -> Order:
    rng = KeyedGenerator(seed, purpose).at(epoch)
    return Order(rng.permutation(num_examples)) if groups is None else groups.draw(rng)
