"""Which rows of a batch are made where, when processes and micro-batches divide it."""

import dataclasses

from keras_deit.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class Shard:
    """One process's shard of every batch, and the micro-batches that it is made in.

    A training batch of B rows is divided into n = `processes` x `micro_batches` shards of equal
    size. Shard s holds the rows from s B / 2n to (s + 1) B / 2n and their mirror images from the
    end of the batch: row i and row B - 1 - i, which Mixup and CutMix blend, stay together, and they
    are partners in the reversed shard too. The shards of a batch together are the batch.

    Attributes:
        process: the index of this process.
        processes: that read the stream.
        micro_batches: that a process gets one after the other, for gradient accumulation.
    """

    process: int = 0
    processes: int = 1
    micro_batches: int = 1

    def __post_init__(self):
        if self.micro_batches < 1 or not 0 <= self.process < self.processes:
            raise InputError(
                "A shard should be of process 0 to processes - 1, in 1 or more micro-batches. "
                f"Received: {self}."
            )

    def train_size(self, batch_size: int) -> int:
        """Returns the rows of an element of the training stream.

        Raises:
            InputError: the batch cannot be divided into equal shards of complete pairs.
        """
        count = self.processes * self.micro_batches
        if count > 1 and batch_size % (2 * count):
            raise InputError(
                f"A batch in {self.processes} x {self.micro_batches} shards (processes x "
                f"micro-batches) of complete pairs of images needs a size that is a multiple of "
                f"{2 * count}. Received: {batch_size}."
            )
        return batch_size // count

    def train_rows(self, element: int, batch_size: int) -> tuple[int, list[int]]:
        """Returns the number of the batch that an element of the stream belongs to, and its rows.

        Args:
            element: its number: element m is shard (m % micro_batches) * processes + process of
                batch m // micro_batches.
            batch_size: B, of all shards together.
        """
        batch, micro_batch = divmod(element, self.micro_batches)
        size = self.train_size(batch_size)
        if size == batch_size:
            return batch, list(range(batch_size))
        first = (micro_batch * self.processes + self.process) * size // 2
        last = first + size // 2
        return batch, [*range(first, last), *range(batch_size - last, batch_size - first)]

    def evaluation_size(self, batch_size: int) -> int:
        """Returns the rows of this process in a batch of an evaluation, without micro-batches.

        Raises:
            InputError: the batch cannot be divided evenly among the processes.
        """
        if batch_size % self.processes:
            raise InputError(
                f"An evaluation by {self.processes} processes needs a batch size that is a "
                f"multiple of {self.processes}. Received: {batch_size}."
            )
        return batch_size // self.processes


WHOLE = Shard()
