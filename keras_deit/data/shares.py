"""Which rows of a batch are made where, when processes and micro-batches divide it."""

import dataclasses

from keras_deit.errors import InputError


@dataclasses.dataclass(frozen=True)
class Share:
    """One process's share of every batch, and the parts that it is made in.

    A training batch of B rows is cut into n = `processes` x `parts` shares of equal size. Share s
    holds the rows from s B / 2n to (s + 1) B / 2n and their mirror images from the batch's end:
    row i and row B - 1 - i, which Mixup and CutMix blend, stay together, and they are partners in
    the reversed share too. The shares of a batch together are the batch.

    Attributes:
        process: the index of this process.
        processes: that read the stream, each its own share.
        parts: micro-batches that a process gets one after the other, for gradient accumulation.
    """

    process: int = 0
    processes: int = 1
    parts: int = 1

    def __post_init__(self):
        if self.parts < 1 or not 0 <= self.process < self.processes:
            raise InputError(
                "A share should be of process 0 to processes - 1, in 1 or more parts. "
                f"Received: {self}."
            )

    def train_size(self, batch_size: int) -> int:
        """The rows of an element of the training stream.

        Raises:
            InputError: the batch cannot be cut into equal shares of whole pairs.
        """
        count = self.processes * self.parts
        if count > 1 and batch_size % (2 * count):
            raise InputError(
                f"A batch in {self.processes} x {self.parts} shares (processes x parts) of whole "
                f"pairs of images needs a size that is a multiple of {2 * count}. "
                f"Received: {batch_size}."
            )
        return batch_size // count

    def train_rows(self, element: int, batch_size: int) -> tuple[int, list[int]]:
        """The number of the batch that an element of the stream is a part of, and its rows.

        Args:
            element: its number: element m is share (m % parts) * processes + process of batch
                m // parts.
            batch_size: B, of all shares together.
        """
        batch, part = divmod(element, self.parts)
        size = self.train_size(batch_size)
        if size == batch_size:
            return batch, list(range(batch_size))
        first = (part * self.processes + self.process) * size // 2
        last = first + size // 2
        return batch, [*range(first, last), *range(batch_size - last, batch_size - first)]

    def evaluation_size(self, batch_size: int) -> int:
        """The rows of this process in a batch of an evaluation, which has no parts.

        Raises:
            InputError: the processes cannot have equally many.
        """
        if batch_size % self.processes:
            raise InputError(
                f"An evaluation by {self.processes} processes needs a batch size that is a "
                f"multiple of {self.processes}. Received: {batch_size}."
            )
        return batch_size // self.processes


WHOLE = Share()
