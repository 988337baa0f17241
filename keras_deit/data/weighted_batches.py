"""Full batches of one pass, whose weights leave padding and bad images out."""

import numpy as np

from keras_deit.data.bad_images import BadImages
from keras_deit.data.batches import EvaluationBatches
from keras_deit.data.shares import Share
from keras_deit.errors import InputError


class WeightedBatches(EvaluationBatches):
    """Random access to one process's rows of the batches of one pass, every batch full.

    A row past the end is the last example again, with the weight 0. The other rows have the weight
    (rows with padding) / (examples): a loss that Keras divides by the size of the batch is then
    the mean over the examples, as a weighted metric is. A bad image is zeros, with the label and
    the weight 0.

    Args:
        arguments: of `EvaluationBatches`; the batch size is that of all processes together.
        share: of this process.
        bad_images: what to do about them.
    """

    def __init__(self, *arguments, share: Share, bad_images: BadImages):
        super().__init__(*arguments)
        self._bad_images = bad_images
        self._rows = share.evaluation_size(self._batch_size)
        self._offset = share.process * self._rows
        self._weight = len(self) * self._batch_size / len(self._source)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first, end = number * self._batch_size + self._offset, len(self._source)
        # A process may have nothing but padding.
        positions = range(first, min(first + self._rows, end)) or [end - 1]
        images = np.zeros((self._rows, self._format.height, self._format.width, 3), np.float32)
        labels, weights = np.zeros(self._rows, np.int32), np.zeros(self._rows, np.float32)
        for row, position in enumerate(positions):
            try:
                labels[row] = self._fill(images[row], position)
                weights[row] = self._weight
            except InputError as error:
                self._bad_images.handle(error)
        images[len(positions) :] = images[len(positions) - 1]
        labels[len(positions) :] = labels[len(positions) - 1]
        weights[max(0, end - first) :] = 0
        return images, labels, weights
