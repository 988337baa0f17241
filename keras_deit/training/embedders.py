"""The embedders of a run: models from the features to the embeddings, beside the weights."""

import contextlib
from collections.abc import Iterator

import keras

from keras_deit.core.errors import InputError
from keras_deit.core.files import atomic_write
from keras_deit.core.keras_file import load_keras_file
from keras_deit.core.processes import addressable, is_writer
from keras_deit.pretrained.own_weights import (
    RUN_EMBEDDERS,
    check_run_file,
    gone_file,
    stored_digests,
)
from keras_deit.training.run import Run


def save_embedder(run: Run, embedder: keras.Model | None, weights: str) -> None:
    """Writes an objective's embedder atomically, in the process that writes.

    Args:
        run: of the training.
        embedder: see `Objective`; None for none.
        weights: the weights that it goes with, one of `RUN_EMBEDDERS`.
    """
    if is_writer() and embedder is not None:
        path = run.path / RUN_EMBEDDERS[weights]
        with (
            addressable(embedder.weights),
            _of_one_replica(embedder),
            atomic_write(path) as partial,
        ):
            embedder.save(partial)


@contextlib.contextmanager
def _of_one_replica(embedder: keras.Model) -> Iterator[None]:
    """Lets the file load on all backends: only TensorFlow knows synchronized norms."""
    norms = [layer for layer in embedder.layers if getattr(layer, "synchronized", False)]
    try:
        for norm in norms:
            norm.synchronized = False
        yield
    finally:
        for norm in norms:
            norm.synchronized = True


def load_embedder(run: Run, weights: str = "final") -> keras.Model | None:
    """Returns the model from features to embeddings of a run; None if it has no embedder.

    Args:
        run: finished.
        weights: as for `Run.model`.

    Raises:
        InputError: the file is gone or corrupt, or the run has none for these weights.
    """
    name = RUN_EMBEDDERS.get(weights)
    if name is not None and (run.path / name).is_file():
        check_run_file(run.path / name)
        return load_keras_file(run.path / name, str(run.path / name))
    known = stored_digests(run.path)
    if name in known:
        raise gone_file(run.path, name)
    if any(other in known for other in RUN_EMBEDDERS.values()):
        raise InputError(f"{run.path} has no embedder for its weights {weights!r}.")
    return None
