"""Division of batches among processes and micro-batches."""

import dataclasses

from keras_deit.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class Shard:
    """The shards of every batch that a process reads.

    A training batch of B rows is divided into n = `processes` x `micro_batches` shards of equal
    size. Shard s contains the rows from s B / 2n to (s + 1) B / 2n, and for each row i of them also
    row B - 1 - i, its partner in Mixup and CutMix, such that they are partners in the shard too.

    Attributes:
        process: the index of this process.
        processes: the number of processes that read the stream.
        micro_batches: the number of micro-batches that a process reads one after the other, for
            gradient accumulation.
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
        """Returns the number of rows in an element of the training stream.

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
        """Returns the index of the batch that an element of the stream belongs to, and its rows.

        Args:
            element: the index of the element. Element m is shard (m % micro_batches) * processes +
                process of batch m // micro_batches.
            batch_size: the number of rows of all shards together.
        """
        batch, micro_batch = divmod(element, self.micro_batches)
        size = self.train_size(batch_size)
        if size == batch_size:
            return batch, list(range(batch_size))
        first = (micro_batch * self.processes + self.process) * size // 2
        last = first + size // 2
        return batch, [*range(first, last), *range(batch_size - last, batch_size - first)]

    def evaluation_size(self, batch_size: int) -> int:
        """Returns the number of rows of this process in a batch of an evaluation.

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
