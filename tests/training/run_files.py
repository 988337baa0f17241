"""What tests of runs have in common."""

import contextlib
import resource
import signal

import h5py
import numpy as np


def quiet(line):
    """Says nothing."""


def stored_weights(path) -> dict[str, np.ndarray]:
    """The arrays of a `.weights.h5` file by name."""
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: arrays.update({name: item[()]}) if hasattr(item, "shape") else None
        )
    return arrays


@contextlib.contextmanager
def files_no_longer_than(size: int):
    """Writing more into a file fails, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
