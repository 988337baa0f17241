"""TensorBoard's events beside a run, which does not depend on them."""

import logging

import keras

_LOGGER = logging.getLogger(__name__)


class Events(keras.callbacks.TensorBoard):
    """Writes events for TensorBoard; where that fails, says so once and writes no more."""

    def __init__(self, path, **kwargs):
        super().__init__(path, **kwargs)
        self._failed = False

    def on_epoch_end(self, epoch, logs=None):
        self._try(super().on_epoch_end, epoch, logs)

    def on_train_end(self, logs=None):
        self._try(super().on_train_end, logs)

    def _try(self, write, *args):
        import tensorflow as tf

        if self._failed:
            return
        try:
            write(*args)
        except (OSError, tf.errors.OpError) as error:
            self._failed = True
            reason = str(error).splitlines()[0]
            _LOGGER.warning("No events for TensorBoard can be written: %s", reason)
