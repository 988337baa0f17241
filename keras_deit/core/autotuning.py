"""Reading batches without the autotuning of tf.data."""

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import keras

if TYPE_CHECKING:
    import tensorflow


# Blocks that are active, in all threads: the first one replaces Keras's function, the last one
# puts it back.
_lock, _active, _get_data_adapter = threading.Lock(), 0, None


@contextlib.contextmanager
def without_autotuning() -> Iterator[None]:
    """Makes Keras read arrays, generators and `PyDataset`s in the block as `not_autotuned` does.

    Keras makes a tf.data.Dataset of them itself, on TensorFlow, and has no option for it. A
    tf.data.Dataset that it is given keeps its own options.
    """
    global _active, _get_data_adapter
    if keras.backend.backend() != "tensorflow":
        yield
        return
    from keras.src.trainers import data_adapters

    with _lock:
        _active += 1
        if _active == 1:
            _get_data_adapter = data_adapters.get_data_adapter
            data_adapters.get_data_adapter = _adapter_without_autotuning
    try:
        yield
    finally:
        with _lock:
            _active -= 1
            if _active == 0:
                data_adapters.get_data_adapter = _get_data_adapter


def _adapter_without_autotuning(x, *args, **kwargs):
    import tensorflow

    adapter = _get_data_adapter(x, *args, **kwargs)
    if not isinstance(x, tensorflow.data.Dataset | tensorflow.distribute.DistributedDataset):
        dataset = adapter.get_tf_dataset
        adapter.get_tf_dataset = lambda: not_autotuned(dataset())
    return adapter


def not_autotuned(dataset: "tensorflow.data.Dataset") -> "tensorflow.data.Dataset":
    """Returns a data set without the autotuning of tf.data, which delays the end of each pass.

    An iterator that ends waits for the thread that tunes it. That thread is woken before it can
    see that it should end, so that it mostly sleeps on to the end of its period. Periods double
    from 10 ms on: a pass ends 1.3, 2.6, 5.1, 10.2, 20.5 or 41 seconds after its beginning,
    whenever its last batch was. In a data set of one generator there is nothing to tune.
    """
    import tensorflow

    options = tensorflow.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
