"""Batches as Keras's `fit` and `evaluate` take them, on every backend."""

import threading
from collections.abc import Iterator

import grain
import keras

from keras_deit.core.image_format import ImageFormat
from keras_deit.data.pipeline import prefetched


class BatchDataset(keras.utils.PyDataset):
    """Batches by their index, in the same order in every pass, for `evaluate` and `predict`.

    Batches that are asked for one after the other are made in advance by threads. Keras's own
    `workers` stay off: they mix the batches of a pass that Keras breaks off to build a model with
    those of the next one.

    Args:
        elements: the batches by their number, (images, labels) or (images, labels, weights).
        length: the number of batches in a pass.
        image_format: the image format of the model.
        rows: the number of images in a batch.
        class_names: the names of the classes by index.
        threads: the number of threads that make batches; None for as many as there are cores.
    """

    def __init__(
        self,
        elements: grain.MapDataset,
        length: int,
        image_format: ImageFormat,
        rows: int,
        class_names: tuple[str, ...],
        threads: int | None = None,
    ):
        super().__init__()
        self.class_names = class_names
        self.image_format = image_format
        self._elements = elements
        self._length = length
        self._rows = rows
        self._threads = threads
        self._stream: Iterator | None = None
        self._next_in_stream = -1
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Returns the number of batches in a pass."""
        return self._length

    def __getitem__(self, index: int) -> tuple:
        """Returns a batch by its index, from 0 to the length."""
        if not 0 <= index < self._length:
            raise IndexError(f"The batches are 0 to {self._length - 1}. Received: {index}")
        with self._lock:
            return self._at(index)

    def _at(self, index: int) -> tuple:
        return self._in_stream(index) if index in (0, self._next_in_stream) else self._alone(index)

    def _alone(self, number: int) -> tuple:
        """Returns a batch that does not follow another one."""
        return self._elements[number]

    def _in_stream(self, number: int) -> tuple:
        """Returns a batch, and lets the next ones be made."""
        if number != self._next_in_stream:
            following = self._elements[number:]
            pass_from_here = prefetched(following, self.image_format, self._rows, self._threads)
            self._stream = iter(pass_from_here)
        batch = next(self._stream)
        self._next_in_stream = number + 1
        return batch


class TrainBatchDataset(BatchDataset):
    """The batches of a training, other ones in every epoch.

    A pass over all batches, by `fit` or in a loop, is an epoch, and `epoch` is the number of the
    present or next one; it can be set, to resume a training. Batch i of epoch e is that of
    number e · length + i in the stream of `train_pipeline`, as in a training by the command: the
    stream itself is shuffled. So what Keras's `shuffle` does to the indices is undone here: the
    batches of an epoch come in the order of the stream. An epoch that is broken off is repeated.
    With one or two batches in an epoch, `fit` may begin with the epoch 1, because Keras takes a
    batch or two to build a model.

    Args:
        *arguments, **options: those of `BatchDataset`; the elements are endless.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.epoch = 0
        # In a pass of Keras, the place of an index in the order in which they are asked for.
        self._places: dict[int, int] | None = None
        self._counted = self._begun = False

    @property
    def num_batches(self) -> int:
        """The number of batches in an epoch. Keras reads it when it begins a pass."""
        self._counted = True
        return len(self)

    def on_epoch_begin(self) -> None:
        """Is called by Keras, also where it continues a pass (`steps_per_epoch`)."""
        self._begun = True

    def __iter__(self) -> Iterator[tuple]:
        """Yields the batches of an epoch."""
        epoch = self.epoch
        for index in range(len(self)):
            with self._lock:
                batch = self._in_stream(epoch * len(self) + index)
            yield batch
        self.epoch = epoch + 1

    def _at(self, index: int) -> tuple:
        if self._counted and self._begun:
            self._places = {}
            self._counted = self._begun = False
        first = self.epoch * len(self)
        if self._places is None:
            return self._alone(first + index)
        if index in self._places:
            return self._alone(first + self._places[index])
        place = self._places[index] = len(self._places)
        batch = self._in_stream(first + place)
        if len(self._places) == len(self):
            self.epoch += 1
            self._places = None
        return batch
