"""Validating a model during its training, and scoring it on a split at the end."""

import dataclasses

import keras
import numpy as np

from keras_deit.data import Dataset, Source, num_batches
from keras_deit.models import Classifier
from keras_deit.objectives import Features, Objective, TrainingModel
from keras_deit.objectives.scoring import Scores, compute_features, score_student
from keras_deit.training.input_pipeline import InputPipeline


def score_split(
    objective: Objective,
    student: Classifier,
    splits: Dataset,
    split: str,
    pipeline: InputPipeline,
    batch_size: int,
    title: str | None = None,
) -> Scores:
    """Scores a trained model on a split, as its objective does it.

    Args:
        objective: objective of the training; its teacher, if there is one, is scored too.
        student: the trained model.
        splits: the dataset, with the images that the student is trained on as its training split.
        split: "validation" or "test".
        pipeline: pipeline of the student's images.
        batch_size: images at a time.
        title: title of the progress bar; by default the name of the split.

    Returns:
        Figures by the names of the rows of the report.
    """
    if not objective.validates_features:
        data, batches = _pass_over(getattr(splits, split), pipeline, batch_size)
        return score_student(student, objective.teacher, data, batches, title or split)
    names = ["train", "validation", split] if objective.has_score_test else ["train", split]
    features = {
        name: split_features(
            *(objective, student, splits, name, pipeline, batch_size),
            title if name == split else None,
            with_probabilities=name == split and objective.trains_heads,
        )
        for name in dict.fromkeys(names)
    }
    scores = objective.score_test(features["train"], features.get("validation"), features[split])
    return {"features": scores}


def split_features(
    objective: Objective,
    student: Classifier,
    splits: Dataset,
    split: str,
    pipeline: InputPipeline,
    batch_size: int,
    title: str | None = None,
    callbacks=(),
    with_probabilities: bool = False,
) -> Features:
    """Returns the features of a split, with the labels of both levels if there are two.

    Args:
        objective, student, splits, pipeline, batch_size, title: as for `score_split`.
        split: "train", "validation" or "test".
        callbacks: of Keras's `predict`.
        with_probabilities: whether features of data with two levels of labels have the
            `probabilities` of the classes, too.
    """
    source = getattr(splits, split)
    fine = getattr(source, "fine", None)
    if fine is not None:
        pipeline = dataclasses.replace(pipeline, num_classes=len(splits.fine_class_names))
    data, batches = _pass_over(fine or source, pipeline, batch_size)
    features = compute_features(
        *(student, data, batches, title or split, callbacks, objective.embedder),
        with_probabilities=with_probabilities and fine is not None,
    )
    if fine is None:
        return features
    labels = np.asarray(splits.coarse_of)[features.labels]
    return dataclasses.replace(features, labels=labels, fine_labels=features.labels)


def validate_model(
    model: TrainingModel,
    splits: Dataset,
    pipeline: InputPipeline,
    batch_size: int,
    callback: keras.callbacks.Callback,
) -> dict[str, float]:
    """Returns the figures of a validation by name, as its objective computes them.

    Args:
        model: in training.
        splits: as for `score_split`.
        pipeline: pipeline of the student's images.
        batch_size: images at a time.
        callback: gets the events of Keras's `evaluate` or `predict`.
    """
    objective = model.objective
    if not objective.validates_features:
        batches = pipeline.for_objective(objective).evaluation_batches(
            splits.validation, batch_size
        )
        return model.evaluate(batches, callbacks=[callback], return_dict=True, verbose=0)
    train, validation = (
        split_features(
            *(objective, model.student, splits, name, pipeline, batch_size),
            callbacks=[callback],
        )
        for name in ("train", "validation")
    )
    return objective.validate(train, validation)


def _pass_over(source: Source, pipeline: InputPipeline, batch_size: int):
    return pipeline.evaluation_batches(source, batch_size), num_batches(len(source), batch_size)
