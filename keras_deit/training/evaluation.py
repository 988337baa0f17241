"""How well each head does, and how often it agrees with the teacher."""

import keras
import numpy as np
import tqdm

from keras_deit.data import Source, evaluation_pipeline, load_dataset
from keras_deit.distillation import Teacher
from keras_deit.errors import InputError
from keras_deit.models import Classifier
from keras_deit.training.run_directory import RunDirectory
from keras_deit.training.teacher_training import teacher_of_run

SPLITS = ("validation", "test")


def evaluate_run(run_dir: str, split: str = "test", batch_size: int = 64) -> dict:
    """Evaluates the final student of a run on a split of its data.

    Args:
        run_dir: of a finished run.
        split: "validation" or "test".
        batch_size: images at a time.

    Returns:
        `scores` as of `score`, and the number of `examples`.

    Raises:
        InputError: no such split, or not a finished run.
    """
    if split not in SPLITS:
        raise InputError(f"split should be one of {', '.join(SPLITS)}. Received: {split!r}")
    run = RunDirectory(run_dir)
    student, config = run.load_student(), run.read_config()
    dataset = load_dataset(config["run"]["dataset"], config["data_dir"])
    found = teacher_of_run(config, student.image_format)
    teacher = Teacher(*found, student.image_format) if found else None
    data = evaluation_data(
        getattr(dataset, split),
        student,
        batch_size,
        config["crop_ratio"],
        config["interpolation"],
    )
    labels, logits = predict(student, teacher, data, split)
    return {"scores": score(labels, logits), "examples": len(labels)}


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
