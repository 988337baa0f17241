"""How well each head does, and how often it agrees with the teacher."""

import keras
import numpy as np
import tqdm

from keras_deit.data import Source, evaluation_pipeline
from keras_deit.models import Classifier


def evaluation_data(
    source: Source, student: Classifier, batch_size: int, crop_ratio: float, interpolation: str
):
    """One pass over a split as a student sees it: normalised images and integer labels."""
    image_format = student.image_format
    return evaluation_pipeline(source, image_format, batch_size, crop_ratio, interpolation)


def predict(student: Classifier, teacher: keras.Layer | None, data, title: str):
    """Logits of every head and of the teacher, batch by batch.

    Args:
        student: a model of this package.
        teacher: as `Distiller` takes it, or None.
        data: a pass of batches of images and integer labels.
        title: of the progress bar.

    Returns:
        The labels (examples,) and, by name ("class", "distillation" where there is one, "fused",
        "teacher" where there is one), the logits (examples, classes), float32.
    """
    heads = student.heads
    outputs = {**heads.output, "fused": student(heads.input)}
    if teacher is not None:
        outputs["teacher"] = teacher(heads.input)
    model = keras.Model(heads.input, outputs)
    labels, logits = [], {name: [] for name in outputs}
    for images, batch_labels in tqdm.tqdm(data, desc=title, unit="batch", mininterval=0.5):
        labels.append(batch_labels)
        for name, values in model.predict_on_batch(images).items():
            logits[name].append(np.asarray(values, "float32"))
    return np.concatenate(labels), {n: np.concatenate(values) for n, values in logits.items()}


def score(labels: np.ndarray, logits: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """By name, `top1` and, where there is a teacher, `agreement`: shares in [0, 1]."""
    decisions = {name: values.argmax(-1) for name, values in logits.items()}
    scores = {}
    for name, decision in decisions.items():
        scores[name] = {"top1": float(np.mean(decision == labels))}
        if "teacher" in decisions:
            scores[name]["agreement"] = float(np.mean(decision == decisions["teacher"]))
    return scores
