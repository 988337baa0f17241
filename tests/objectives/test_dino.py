"""DINO against NumPy: its loss, center, schedules, views of two sizes, and what has a gradient."""

import logging
import math

import numpy as np
import pytest
from harness import numpy, weights_by_path
from keras import ops
from numpy_reference import gelu
from small_models import JIT, small_student

from keras_deit import InputError
from keras_deit.data import Augmentation
from keras_deit.models import ResMLP
from keras_deit.objectives import Dino, TrainingLength, TrainingModel
from keras_deit.objectives.dino import dino_loss
from keras_deit.objectives.dino_head import Center
from keras_deit.objectives.resized_student import ResizedStudent
from keras_deit.optimizers import SGD
from keras_deit.pretrained.conversion import change_model

on_all_backends = pytest.mark.backends("tensorflow", "jax", "torch")
K = 7
SMALL = {"prototypes": K, "projector_width": 6, "bottleneck": 5}
LENGTH = TrainingLength(steps=10, steps_per_epoch=2, num_images=8)


def built(student=None, length=LENGTH, **values):
    objective = Dino(**{**SMALL, "local_crops": 2, "local_crop_size": 4, **values})
    objective.use_length(length)
    model = TrainingModel(student or small_student(distilled=False), objective)
    model.compile(SGD(0.1, weight_decay=0.0, momentum=0.0), jit_compile=JIT)
    return model


def crops(images=4, local=True):
    rng = np.random.default_rng(5)
    shapes = {"global": (images, 2, 8, 8, 3), "local": (images, 2, 4, 4, 3)}
    found = {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    return found if local else found["global"]


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("local", [0, 3])
def test_the_loss_is_the_mean_over_pairs_of_different_views(local):
    rng = np.random.default_rng(0)
    student, target = rng.normal(size=(4, 2 + local, K)), rng.normal(size=(4, 2, K))
    terms = [
        -(softmax(target[i, t]) * np.log(softmax(student[i, s] / 0.3))).sum()
        for i in range(4)
        for t in range(2)
        for s in range(2 + local)
        if s != t
    ]
    assert len(terms) == 4 * (2 * (2 + local) - 2)
    mean = softmax(target).mean(axis=(0, 1))
    loss, entropy = dino_loss(*map(_tensor, (student, np.log(softmax(target)))), 0.3)
    assert float(loss) == pytest.approx(np.mean(terms), rel=1e-5)
    assert float(entropy) == pytest.approx(-(mean * np.log(mean)).sum() / math.log(K), rel=1e-5)


def test_the_loss_is_ln_k_if_all_answers_are_uniform():
    uniform = np.full((3, 2, K), -math.log(K))
    loss, entropy = dino_loss(_tensor(np.zeros((3, 5, K))), _tensor(uniform), 0.1)
    assert float(loss) == pytest.approx(math.log(K), rel=1e-5)
    assert float(entropy) == pytest.approx(1, rel=1e-5)


def test_the_center_converges_to_the_mean_and_waits_for_the_step():
    center = Center(3, momentum=0.5)
    scores = np.random.default_rng(1).normal(size=(6, 3))
    expected = np.zeros(3)
    for _ in range(20):
        for rows in (scores[:2], scores[2:4], scores[4:]):
            center.update(_tensor(False))
            np.testing.assert_allclose(numpy(center.value), expected, atol=1e-6)
            center.collect(_tensor(rows))
        center.collect(_tensor(scores * np.nan))
        center.update(_tensor(True))
        expected += 0.5 * (scores.mean(axis=0) - expected)
    np.testing.assert_allclose(numpy(center.value), scores.mean(axis=0), atol=1e-5)


@on_all_backends
def test_a_step_trains_the_student_and_moves_teacher_and_center():
    model = built(target_momentum=0.5)
    objective, x = model.objective, crops()
    before = model(x)
    target = [numpy(value) for value in objective.target.weights]
    prototypes, class_head = (
        numpy(objective.head.kernel),
        numpy(model.student.head_layers["class"].kernel),
    )
    weight = numpy(model.student.weights[0])
    logs = model.train_on_batch(x, np.zeros(4, "int32"), return_dict=True)
    assert set(logs) == {"loss", "target_entropy", "mean_target_entropy"}
    assert float(logs["loss"]) == pytest.approx(_expected(before), rel=1e-4)
    scores = numpy(before["target_scores"])
    np.testing.assert_allclose(numpy(objective.center.value), 0.1 * scores.mean((0, 1)), atol=1e-6)
    assert int(numpy(objective.counter.step)) == 1
    assert np.abs(numpy(model.student.weights[0]) - weight).max() > 1e-5
    moved = zip(objective.target.weights, target, strict=True)
    assert max(np.abs(numpy(one) - other).max() for one, other in moved) > 1e-5
    np.testing.assert_array_equal(numpy(model.student.head_layers["class"].kernel), class_head)
    # The prototypes are frozen in the first epoch, which has two steps.
    np.testing.assert_array_equal(numpy(objective.head.kernel), prototypes)
    for _ in range(2):
        model.train_on_batch(x, np.zeros(4, "int32"))
    assert np.abs(numpy(objective.head.kernel) - prototypes).max() > 1e-5


def _expected(outputs):
    student, target = numpy(outputs["student"]), numpy(outputs["target"])
    loss, _ = dino_loss(_tensor(student), _tensor(target), 0.1)
    return float(loss)


def test_with_the_momentum_1_the_teacher_stays():
    model, x = built(target_momentum=1.0), crops(local=False)
    before = numpy(model(x)["target_scores"])
    for _ in range(3):
        model.train_on_batch(x, np.zeros(4, "int32"))
    after = model(x)
    np.testing.assert_allclose(numpy(after["target_scores"]), before, atol=1e-6)
    assert np.abs(numpy(after["student"])[:, :2] - before).max() > 1e-4


def test_the_temperature_of_the_teacher_has_a_warmup():
    objective = built(
        target_warmup_temperature=0.02, target_temperature=0.1, target_warmup_epochs=2
    ).objective
    found = []
    for step in (0, 1, 3, 4, 9):
        objective.counter.step.assign(step)
        found.append(float(objective._temperature()))
    np.testing.assert_allclose(found, [0.02, 0.04, 0.08, 0.1, 0.1], rtol=1e-5)


@on_all_backends
def test_a_compiled_step_follows_another_length():
    """A time limit makes epochs of other lengths after the step was compiled."""
    model = built(length=TrainingLength(10, 1, 8), target_warmup_epochs=2.0, freeze_epochs=1.0)
    objective, x = model.objective, crops(local=False)
    before = numpy(objective.head.kernel)
    model.train_on_batch(x, np.zeros(4, "int32"))
    objective.use_length(TrainingLength(60, 6, 8))
    model.train_on_batch(x, np.zeros(4, "int32"))
    np.testing.assert_array_equal(numpy(objective.head.kernel), before)
    assert float(objective.counter.share_of(2.0)) == pytest.approx(2 / 12)
    momentum = 1 - float(objective.target.rate_at(30))
    assert momentum == pytest.approx(1 - 0.004 / 2, rel=1e-6)
    objective.use_length(TrainingLength(10, 1, 8))
    model.train_on_batch(x, np.zeros(4, "int32"))
    assert np.abs(numpy(objective.head.kernel) - before).max() > 1e-5


@on_all_backends
def test_a_normalized_head_has_the_statistics_of_the_batch_in_training():
    """What all images share is then subtracted, also in the teacher."""
    model, x = built(head_norm=True, freeze_epochs=0.0), crops(local=False)
    objective, before = model.objective, weights_by_path(model.objective.head)
    features = numpy(objective.features(x.reshape(-1, 8, 8, 3)))
    found = model(x, training=True)
    expected = _normalized_head(features, before)
    # The views of an image follow each other.
    for name in ("student", "target_scores"):
        np.testing.assert_allclose(numpy(found[name]).reshape(-1, K), expected, atol=2e-4)
    model.train_on_batch(x, np.zeros(4, "int32"))
    after = weights_by_path(objective.head)
    assert {path for path in before if np.abs(after[path] - before[path]).max() > 1e-6} >= {
        path for path in before if path.endswith(("gamma", "beta", "moving_mean"))
    }


def _normalized_head(x, w):
    """Returns the scores in NumPy."""
    for number in (1, 2):
        x = x @ w[f"hidden{number}/kernel"] + w[f"hidden{number}/bias"]
        x = gelu((x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5))
    x = x @ w["bottleneck/kernel"] + w["bottleneck/bias"]
    prototypes = w["prototypes"] / np.linalg.norm(w["prototypes"], axis=0)
    return x / np.linalg.norm(x, axis=1, keepdims=True) @ prototypes


@on_all_backends
def test_local_crops_are_seen_with_resized_positions_and_train_them():
    student = small_student(distilled=False, drop_path_rate=0.5, depth=2)
    resized = ResizedStudent(student, 4)
    images = crops()["local"][:, 0]
    expected = change_model(student, image_size=4).feature_model()(images)
    np.testing.assert_allclose(numpy(resized(images)), numpy(expected), atol=1e-5)
    # Random layers draw anew every time, from the student's generators.
    first, second = (numpy(resized(images, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    model = built(student)
    table = student.position_tables()[0].variable
    before = numpy(table)
    model.train_on_batch(crops(), np.zeros(4, "int32"))
    assert np.abs(numpy(table) - before)[:, 1:].min() > 0


def test_a_model_of_a_fixed_size_is_trained_with_the_global_crops_alone(caplog):
    student = ResMLP(image_size=8, patch_size=4, embed_dim=8, depth=1, num_classes=3)
    with caplog.at_level(logging.WARNING):
        model = built(student)
    assert "global crops alone" in caplog.text and "--crop_scale" not in caplog.text
    with caplog.at_level(logging.WARNING):
        model.objective.augmented_views(plain(crop_scale=(0.14, 1.0)))
        assert "--crop_scale" not in caplog.text
        assert model.objective.views == len(model.objective.augmented_views(plain())) == 2
    assert "--crop_scale 0.14,1. Received: 0.4,1" in caplog.text
    logs = model.train_on_batch(crops(local=False), np.zeros(4, "int32"), return_dict=True)
    assert np.isfinite(logs["loss"])


def plain(crop_scale=(0.4, 1.0)):
    return Augmentation(crop_scale=crop_scale, mixup_alpha=0.0, cutmix_alpha=0.0)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="mixup_alpha"):
        Dino().check(Augmentation())
    with pytest.raises(InputError, match="temperatures"):
        Dino(student_temperature=0.0)
    with pytest.raises(InputError, match="use_length"):
        TrainingModel(small_student(), Dino(**SMALL))


def _tensor(values):
    return ops.convert_to_tensor(values, "bool" if isinstance(values, bool) else "float32")
