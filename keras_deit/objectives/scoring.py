"""Scores of trained models on a split, and their features."""

import contextlib
import dataclasses
import functools
import time
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_deit.core.autotuning import without_autotuning
from keras_deit.core.progress import Progress
from keras_deit.models import Classifier
from keras_deit.objectives.objective import Features

Scores = dict[str, dict[str, float]]


def score_student(
    student: Classifier, teacher: keras.Layer | None, data, batches: int, title: str
) -> Scores:
    """Scores every head, their mean and the teacher.

    Args:
        student: model of this package.
        teacher: layer that maps the student's images to logits, or None.
        data, batches, title: see `score`.

    Returns:
        The scores of `score` by the names of the heads, "fused", and "teacher" if there is one.
    """
    heads = student.heads
    outputs = {**heads.output, "fused": student(heads.input)}
    if teacher is not None:
        outputs["teacher"] = teacher(heads.input)
    return score(keras.Model(heads.input, outputs), data, batches, title)


def score(model: keras.Model, data, batches: int, title: str) -> Scores:
    """Computes the top-1 of each output of a model, and its agreement with the teacher.

    Args:
        model: model that maps images to logits or probabilities (batch, classes) by name.
        data: one pass over batches of images, integer labels and, if some images do not count,
            weights.
        batches: number of batches.
        title: title of the progress bar.

    Returns:
        For each output by name, `top1` and, if one of them is called "teacher", `agreement`: the
        fraction of images for which the output and the teacher predict the same class. Both are in
        [0, 1].
    """
    scorer = Scorer(model)
    scorer.compile()
    with Progress(title, batches, "batch") as bar, _quiet(), without_autotuning():
        results = scorer.evaluate(data, callbacks=[_Advance(bar)], verbose=0, return_dict=True)
    # Six digits are enough for the results of a million images.
    return {
        name: {figure: round(float(results[key]), 6) for figure, key in keys.items()}
        for name, keys in scorer.keys.items()
    }


def compute_features(
    student: Classifier,
    data,
    batches: int,
    title: str,
    callbacks=(),
    embedder: keras.Model | None = None,
    with_probabilities: bool = False,
) -> Features:
    """Computes the features of a split: the input of the class head for every image.

    Args:
        student: model of this package.
        data, batches, title: see `score`.
        callbacks: callbacks of Keras's `predict`.
        embedder: model from features to embeddings, see `Objective`; None for none.
        with_probabilities: whether to compute the `probabilities` of the classes, too.
    """
    model = embedding_model(student, embedder)
    if with_probabilities:
        chances = keras.layers.Activation("softmax", dtype="float32")(student.output)
        model = keras.Model(student.input, [model.output, chances])
    found = compute_outputs(model, data, batches, title, callbacks)
    features, chances = found.outputs if with_probabilities else (found.outputs, None)
    return Features(features, found.labels, probabilities=chances)


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What a model answers for the images of a split that count.

    Attributes:
        outputs: arrays (images, ...), one or in the structure of the model's outputs.
        labels: integers (images,).
        indices: positions of the images in the split, integers (images,), in one process.
        images_per_second: with reading the images, after the first batch if there are several,
            because the model is compiled in that.
    """

    outputs: Any
    labels: np.ndarray
    indices: np.ndarray
    images_per_second: float


def compute_outputs(model: keras.Model, data, batches: int, title: str, callbacks=()) -> Outputs:
    """Computes the outputs of a model for every image of one pass.

    They are all kept, as are the labels: 4 bytes for each image and class.

    Args:
        model: maps images to arrays.
        data, batches, title: see `score`.
        callbacks: callbacks of Keras's `predict`.
    """
    labels, weights, times = [], [], [time.monotonic()]

    def images() -> Iterator:
        for x, y, *sample_weight in data:
            labels.append(np.asarray(y))
            weights.append(np.asarray(sample_weight[0]) if sample_weight else np.ones(len(x)))
            yield (x,)

    first = keras.callbacks.LambdaCallback(
        on_predict_batch_end=lambda batch, logs: batch or times.append(time.monotonic())
    )
    with Progress(title, batches, "batch") as bar, _quiet(), without_autotuning():
        outputs = model.predict(images(), callbacks=[_Advance(bar), first, *callbacks], verbose=0)
    counted = np.concatenate(weights) > 0
    timed = np.sum(counted[len(labels[0]) :]) or np.sum(counted)
    start = times[-1] if len(labels) > 1 else times[0]
    return Outputs(
        keras.tree.map_structure(lambda array: array[counted], outputs),
        np.concatenate(labels)[counted],
        np.flatnonzero(counted),
        float(timed / (time.monotonic() - start)),
    )


@functools.lru_cache(maxsize=1)
def embedding_model(student: Classifier, embedder: keras.Model | None = None) -> keras.Model:
    """Returns the model from images to features, and on to embeddings if there is an embedder.

    It is the same model at every validation, because each is compiled anew.
    """
    features = student.feature_model()
    if embedder is None:
        return features
    outputs = keras.layers.Activation("linear", dtype="float32")(embedder(features.output))
    return keras.Model(features.input, outputs, name=f"{student.name}_embeddings")


class Scorer(keras.Model):
    """A model that counts correct predictions in Keras's `evaluate`, on any number of devices.

    Args:
        model: see `score`.
    """

    def __init__(self, model: keras.Model):
        super().__init__()
        self.model = model
        names = list(model.output)
        figures = ("top1", "agreement") if "teacher" in names else ("top1",)
        self.keys = {name: {figure: f"{name}_{figure}" for figure in figures} for name in names}
        self.means = {
            key: keras.metrics.Mean(name=key)
            for keys in self.keys.values()
            for key in keys.values()
        }

    def call(self, images, training=False):
        return self.model(images, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=False):
        return ops.zeros(())

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        decisions = {name: ops.cast(ops.argmax(y_pred[name], -1), "int32") for name in self.keys}
        expected = {"top1": ops.cast(ops.reshape(y, (-1,)), "int32")}
        if "teacher" in decisions:
            expected["agreement"] = decisions["teacher"]
        for name, keys in self.keys.items():
            for figure, key in keys.items():
                hits = ops.cast(decisions[name] == expected[figure], "float32")
                self.means[key].update_state(hits, sample_weight=sample_weight)
        return self.get_metrics_result()


class _Advance(keras.callbacks.Callback):
    """Advances a progress bar by the batches of an evaluation."""

    def __init__(self, bar: Progress):
        super().__init__()
        self._bar = bar

    def on_test_batch_end(self, batch, logs=None):
        self._bar.update()

    def on_predict_batch_end(self, batch, logs=None):
        self._bar.update()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ignores Keras's warning about the unknown length of Grain's data."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Your input ran out of data")
        yield
