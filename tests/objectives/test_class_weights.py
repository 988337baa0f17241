"""Losses with class weights against NumPy, for labels of every kind; balanced accuracy."""

import keras
import numpy as np
import pytest
from harness import numpy
from small_models import (
    CLASSES,
    JIT,
    assert_logs,
    batch,
    expected_logs,
    small_student,
    small_teacher,
)

from keras_deit import Distiller, InputError, Supervised
from keras_deit.losses import BalancedAccuracy, image_weights, label_loss
from keras_deit.objectives import TrainingModel

WEIGHTS = (0.25, 3.0, 1.5)
SMOOTHING = 0.1
on_all_backends = pytest.mark.backends("tensorflow", "jax", "torch")


def mixed_batch():
    """Returns images, targets that are smoothed and mixed, and the weights of the images."""
    images, first, _ = batch()
    second, lam = first[::-1], np.linspace(1, 0.1, len(first))[:, None]
    one_hot = np.eye(CLASSES)
    targets = lam * one_hot[first] + (1 - lam) * one_hot[second]
    targets = (1 - SMOOTHING) * targets + SMOOTHING / CLASSES
    w = np.array(WEIGHTS)
    weights = lam[:, 0] * w[first] + (1 - lam[:, 0]) * w[second]
    return images, targets.astype("float32"), weights


@on_all_backends
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_both_losses_of_an_image_are_multiplied_by_its_weight(kind):
    x, y, weights = mixed_batch()
    values = {"class_weights": WEIGHTS, "label_smoothing": SMOOTHING}
    distiller = Distiller(small_student(), small_teacher(), kind=kind, **values)
    distiller.compile(keras.optimizers.SGD(0.0), jit_compile=JIT)
    expected = expected_logs(distiller, x, y)
    weighted = expected_logs(distiller, x, y, weights)
    losses = {name: value for name, value in weighted.items() if name.endswith("loss")}
    assert abs(losses["loss"] - expected["loss"]) > 0.01
    assert_logs(distiller.train_on_batch(x, y, return_dict=True), {**expected, **losses})
    # An evaluation has no weights.
    labels = y.argmax(axis=-1)
    plain = expected_logs(distiller, x, labels, with_teacher=False)
    assert_logs(distiller.evaluate(x, labels, return_dict=True, verbose=0), plain)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "sigmoid_cross_entropy"])
def test_every_label_loss_is_weighted(loss):
    x, y, weights = mixed_batch()
    model = TrainingModel(
        small_student(), Supervised(loss), class_weights=WEIGHTS, label_smoothing=SMOOTHING
    )
    model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    logits = np.mean([numpy(head) for head in model(x).values()], axis=0)
    each = [float(label_loss(loss)(y[i : i + 1], logits[i : i + 1])) for i in range(len(x))]
    logs = model.train_on_batch(x, y, return_dict=True)
    np.testing.assert_allclose(float(logs["loss"]), np.mean(each * weights), rtol=1e-5)


@on_all_backends
def test_the_weight_of_a_label_does_not_depend_on_its_smoothing():
    _, y, weights = mixed_batch()
    np.testing.assert_allclose(numpy(image_weights(y, WEIGHTS, SMOOTHING)), weights, rtol=1e-5)
    _, labels, _ = batch(labels="a column")
    found = numpy(image_weights(labels, WEIGHTS, SMOOTHING))
    np.testing.assert_allclose(found, np.array(WEIGHTS)[labels[:, 0]], rtol=1e-6)


def test_class_weights_are_saved_and_checked(tmp_path):
    distiller = Distiller(small_student(), small_teacher(), class_weights=WEIGHTS)
    distiller.save(tmp_path / "distiller.keras")
    assert keras.saving.load_model(tmp_path / "distiller.keras").class_weights == WEIGHTS
    with pytest.raises(InputError, match="3 numbers"):
        Distiller(small_student(), small_teacher(), class_weights=(1, 2))


@on_all_backends
def test_each_class_counts_the_same_in_the_balanced_accuracy():
    rng = np.random.default_rng(0)
    labels, logits = rng.choice(4, 50, p=[0.7, 0.2, 0.1, 0]), rng.normal(size=(50, 4))
    counted = np.arange(50) % 5 > 0
    metric = BalancedAccuracy(4)
    for part in (slice(0, 20), slice(20, 50)):
        metric.update_state(
            labels[part], logits[part].astype("float32"), 2.5 * counted[part].astype("float32")
        )
    hits = logits.argmax(-1) == labels
    expected = np.mean([hits[counted & (labels == c)].mean() for c in range(3)])
    assert float(metric.result()) == pytest.approx(expected)
