"""A small student, a small teacher and a batch, with which a step takes little time."""

import keras
import numpy as np
from harness import numpy
from numpy_reference import hard_distillation, label_crossentropy, soft_distillation

from keras_deit import Distiller
from keras_deit.models import DeiT

CLASSES = 3
# XLA takes longer to compile than a few steps take. On JAX every operation would be compiled.
JIT = keras.backend.backend() == "jax"


def small_student(distilled=True, **values) -> DeiT:
    """Returns a student whose weights are large enough for the images to make a difference."""
    defaults = {"image_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2}
    model = DeiT(**{**defaults, "num_classes": CLASSES, **values}, distilled=distilled)
    return give_values(model, np.random.default_rng(1))


def small_teacher(classes=CLASSES) -> keras.Model:
    """Returns a convnet whose batch normalization has statistics of its own."""
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3)(images)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    model = keras.Model(images, keras.layers.Dense(classes)(x))
    return give_values(model, np.random.default_rng(2))


def give_values(model, rng):
    """Gives all weights random values and returns the model."""
    for weight in model.weights:
        values = rng.normal(0, 0.5, weight.shape)
        weight.assign(np.abs(values) + 0.5 if weight.name == "moving_variance" else values)
    return model


def batch(count=6, labels="integers"):
    """Returns images (count, 8, 8, 3), labels, and weights of the samples."""
    rng = np.random.default_rng(3)
    images = rng.normal(size=(count, 8, 8, 3)).astype("float32")
    if labels == "integers":
        y = rng.integers(0, CLASSES, count)
    elif labels == "a column":
        y = rng.integers(0, CLASSES, (count, 1))
    else:
        y = rng.dirichlet(np.ones(CLASSES), count).astype("float32")
    return images, y, rng.uniform(0.5, 2, count).astype("float32")


def expected_logs(distiller: Distiller, x, y, weights=None, with_teacher=True) -> dict:
    """Returns what a step over one batch logs.

    NumPy computes it from the logits of the heads and of the teacher.
    """
    objective = distiller.objective
    heads = {name: numpy(logits) for name, logits in distiller(x).items()}
    fused = np.mean(list(heads.values()), axis=0)
    weights = np.ones(len(x)) if weights is None else weights
    y = y.reshape(-1) if y.shape[-1] == 1 else y
    truth = y if y.ndim == 1 else y.argmax(axis=-1)

    def weighted(values):
        return (values * weights).mean()

    def fraction(logits, wanted):
        return ((logits.argmax(axis=-1) == wanted) * weights).sum() / weights.sum()

    class_logits = fused if objective.kind == "none" else heads["class"]
    logs = {"class_loss": weighted(label_crossentropy(y, class_logits))}
    logs["loss"] = logs["class_loss"]
    logs["accuracy"] = fraction(fused, truth)
    if "distillation" in heads:
        logs["class_accuracy"] = fraction(heads["class"], truth)
        logs["distillation_accuracy"] = fraction(heads["distillation"], truth)
    if with_teacher:
        teacher = numpy(distiller.teacher(x, training=False))
        logs["agreement"] = fraction(fused, teacher.argmax(axis=-1))
        if objective.kind != "none":
            student = heads.get("distillation", heads["class"])
            soft = objective.kind == "soft"
            distillation_loss = weighted(
                soft_distillation(teacher, student, objective.temperature)
                if soft
                else hard_distillation(teacher, student)
            )
            logs["distillation_loss"] = distillation_loss
            logs["loss"] *= 1 - objective.alpha
            logs["loss"] += objective.alpha * distillation_loss
    return logs


def assert_logs(logs: dict, expected: dict, tolerance=1e-5):
    assert set(logs) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(
            float(logs[name]), value, rtol=tolerance, atol=tolerance, err_msg=name
        )
