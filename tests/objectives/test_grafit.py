"""Grafit's losses are those of the paper, its target follows its rule, its memory is kept."""

import dataclasses

import keras
import numpy as np
import pytest
from harness import numpy
from small_models import JIT, batch, small_student

from keras_deit import InputError
from keras_deit.data import Augmentation
from keras_deit.objectives import Batch, Features, Grafit, TrainingLength, TrainingModel, grafit
from keras_deit.objectives.grafit import instance_losses
from keras_deit.objectives.memory import Memory
from keras_deit.objectives.scoring import compute_features
from keras_deit.optimizers import SGD

IMAGES, SIGMA = 12, 0.5
SIZES = {"projection_dim": 5, "projection_hidden_dim": 7}

pytestmark = pytest.mark.backends("tensorflow", "torch")
on_every_backend = pytest.mark.backends("tensorflow", "jax", "torch")


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def training(objective):
    objective.use_length(TrainingLength(10, 5, IMAGES))
    model = TrainingModel(small_student(distilled=False), objective)
    # Tracing takes longer than a few steps do.
    eager = keras.backend.backend() == "tensorflow"
    model.compile(SGD(0.1, momentum=0.0), jit_compile=JIT, run_eagerly=eager)
    return model


def views_of(count, views):
    images, labels, _ = batch(count * views)
    images = images.reshape(count, views, *images.shape[1:]) if views > 1 else images
    return images, {"labels": labels[:count], "index": np.arange(count)}


@pytest.fixture
def memory():
    """A memory of six images, of which one was not seen yet, and what is in it."""
    rng = np.random.default_rng(0)
    memory, rows, labels = Memory(6, 4), unit(rng.normal(size=(5, 4))), np.array([0, 1, 0, 1, 2])
    memory.update(*map(keras.ops.convert_to_tensor, (rows.astype("float32"), labels, np.arange(5))))
    return memory, rows, labels


def test_probabilities_sum_to_one_without_the_image_itself(memory):
    memory, rows, labels = memory
    queries, index = unit(np.random.default_rng(1).normal(size=(3, 4))), np.array([0, 5, 3])
    tensors = [keras.ops.convert_to_tensor(x) for x in (queries.astype("float32"), index)]
    found = numpy(memory.probabilities(*tensors, SIGMA))
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    for i, own in enumerate(index):
        expected = np.exp(rows @ queries[i] / SIGMA) * (np.arange(5) != own)
        np.testing.assert_allclose(found[i, :5], expected / expected.sum(), rtol=1e-4)
        assert found[i, 5] == 0
    own_labels = np.array([0, 1, 2])
    losses, counted = memory.losses(
        tensors[0], keras.ops.convert_to_tensor(own_labels), tensors[1], SIGMA
    )
    expected = [-np.log(found[i, :5][labels == y].sum()) for i, y in enumerate(own_labels)]
    np.testing.assert_allclose(numpy(losses), expected, rtol=1e-4)
    assert numpy(counted).tolist() == [1, 1, 1]
    # No other image has the label of image 4.
    one = [keras.ops.convert_to_tensor(x) for x in (rows[4:].astype("float32"), [2], [4])]
    losses, counted = memory.losses(*one, SIGMA)
    assert (float(losses[0]), float(counted[0])) == (0, 0)


def test_a_new_embedding_is_averaged_with_the_stored_one(memory):
    memory, rows, _ = memory
    new = unit(np.random.default_rng(2).normal(size=(3, 4)))
    # Two copies of image 1, and one that was not seen yet.
    values = (new.astype("float32"), np.array([1, 1, 2]), np.array([1, 1, 5]))
    memory.update(*map(keras.ops.convert_to_tensor, values))
    kept = numpy(memory.embeddings)
    np.testing.assert_allclose(kept[1], unit(rows[1] + new[:2].mean(axis=0)), rtol=1e-4)
    np.testing.assert_allclose(kept[5], new[2], rtol=1e-5)
    np.testing.assert_allclose(kept[[0, 2, 3, 4]], rows[[0, 2, 3, 4]], rtol=1e-5)
    assert numpy(memory.classes).tolist() == [1, 2, 1, 2, 3, 3]
    broken = (np.full((1, 4), np.nan, "float32"), np.array([0]), np.array([0]))
    memory.update(*map(keras.ops.convert_to_tensor, broken))
    np.testing.assert_array_equal(numpy(memory.embeddings), kept)


def test_the_instance_loss_of_identical_views_and_an_identity_predictor_is_minus_one():
    row = unit(np.random.default_rng(0).normal(size=(3, 1, 4))).astype("float32")
    same = keras.ops.convert_to_tensor(np.repeat(row, 4, axis=1))
    np.testing.assert_allclose(numpy(instance_losses(same, same)), -1, rtol=1e-6)
    views = unit(np.random.default_rng(1).normal(size=(2, 3, 4))).astype("float32")
    other = unit(np.random.default_rng(2).normal(size=(2, 3, 4))).astype("float32")
    found = numpy(instance_losses(*map(keras.ops.convert_to_tensor, (views, other))))
    for i in range(2):
        pairs = [views[i, a] @ other[i, b] for a in range(3) for b in range(3) if a != b]
        np.testing.assert_allclose(found[i], -np.mean(pairs), rtol=1e-5)


@on_every_backend
def test_the_target_moves_by_its_rule():
    objective = Grafit(augmentations=2, target_momentum=0.9, **SIZES)
    model = training(objective)
    x, y = views_of(6, 2)
    before = objective.target.get_weights()
    model.train_on_batch(x, y)
    after = objective.target.get_weights()
    now = [numpy(w) for part in (objective.features, objective.embedder) for w in part.weights]
    averages = [a for a in after if a.shape]
    assert len(averages) == len(now)
    for old, new, weight in zip([b for b in before if b.shape], averages, now, strict=True):
        np.testing.assert_allclose(new, 0.9 * old + 0.1 * weight, rtol=1e-4, atol=1e-6)
    assert max(np.abs(a - b).max() for a, b in zip(before, after, strict=True)) > 1e-4


@on_every_backend
def test_a_step_fills_the_memory_and_trains_no_head():
    objective = Grafit(augmentations=2, sigma=SIGMA, **SIZES)
    model = training(objective)
    x, y = views_of(6, 2)
    first = numpy(model(x, training=True)["embeddings"])[:, 0]
    logs = model.train_on_batch(x, y, return_dict=True)
    assert logs["knn_loss"] == 0  # The memory was empty.
    assert -1 <= logs["instance_loss"] <= 1
    assert numpy(objective.memory.classes).tolist() == [*(y["labels"] + 1), *[0] * 6]
    np.testing.assert_allclose(numpy(objective.memory.embeddings)[:6], first, rtol=1e-3, atol=1e-5)
    assert model.train_on_batch(x, y, return_dict=True)["knn_loss"] > 0
    assert not any("class_head" in variable.path for variable in model.trainable_variables)


@on_every_backend
def test_an_evaluation_leaves_the_memory_alone_and_needs_the_views():
    objective = Grafit(augmentations=2, **SIZES)
    model = training(objective)
    x, y = views_of(6, 2)
    model.train_on_batch(x, y)
    before = objective.memory.get_weights()
    other = {"labels": y["labels"], "index": y["index"] + 6}
    assert np.isfinite(model.test_on_batch(x, other, return_dict=True)["loss"])
    for old, new in zip(before, objective.memory.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(InputError, match="2 or more views"):
        model.test_on_batch(x[:, 0], y)


def test_the_losses_of_two_replicas_sum_up_to_that_of_both(monkeypatch):
    objective = Grafit(augmentations=2, ce_weight=0.0, **SIZES)
    model = training(objective)
    x, y = views_of(6, 2)
    model.train_on_batch(x, y)
    tensors = [keras.ops.convert_to_tensor(value) for value in (y["labels"], y["index"])]
    batch = Batch(x, *tensors, outputs=model(x, training=False))
    alone = objective.compute_loss(batch, training=False)
    # The other replica has as many images.
    monkeypatch.setattr(grafit, "num_replicas_in_sync", lambda: 2)
    monkeypatch.setattr(grafit, "mean_over_replicas", lambda value: value)
    for name, loss in objective.compute_loss(batch, training=False).items():
        assert numpy(loss) == pytest.approx(numpy(alone[name]) / 2, rel=1e-5), name


@pytest.mark.backends("tensorflow")
def test_all_labels_equal_make_no_neighborhood_loss():
    objective = Grafit(projector="linear", instance_weight=0.0, **SIZES)
    model = training(objective)
    x, y = views_of(6, 1)
    y["labels"] = np.ones_like(y["labels"])
    losses = [model.train_on_batch(x, y, return_dict=True)["knn_loss"] for _ in range(2)]
    assert losses == pytest.approx([0, 0], abs=1e-5)


@pytest.mark.backends("tensorflow")
def test_the_baselines_are_values():
    logged = {}
    for name, values in {
        "ce": {"projector": "none", "knn_weight": 0.0, "instance_weight": 0.0, "ce_weight": 1.0},
        "ce_inst": {"projector": "none", "knn_weight": 0.0, "ce_weight": 1.0, "augmentations": 2},
    }.items():
        objective = Grafit(**values)
        model = training(objective)
        x, y = views_of(6, objective.views)
        logged[name] = {*model.train_on_batch(x, y, return_dict=True)}
        assert objective.embedder is None and objective.memory is None
    assert logged["ce"] == {"loss", "class_loss", "accuracy"}
    assert logged["ce_inst"] == {"loss", "instance_loss", "class_loss", "accuracy"}


def test_what_is_not_possible_is_said():
    for values, words in {
        ("augmentations", 1): "augmentations",
        ("knn_weight", -1.0): "knn_weight=-1",
        ("sigma", 0.0): "sigma",
        ("projector", "deep"): "projector",
    }.items():
        with pytest.raises(InputError, match=words):
            Grafit(**dict([values]))
    with pytest.raises(InputError, match=r"mixup_alpha=0\.8"):
        Grafit().check(Augmentation())
    with pytest.raises(InputError, match="use_length"):
        TrainingModel(small_student(distilled=False), Grafit(**SIZES))


def test_the_number_of_neighbors_is_chosen_on_validation():
    rng = np.random.default_rng(0)

    def features(count, flip):
        labels = np.arange(count) % 2
        rows = np.eye(2)[labels if not flip else 1 - labels] + rng.normal(0, 0.05, (count, 2))
        return Features(rows, labels, labels + 2 * (np.arange(count) % 4 > 1))

    objective = Grafit()
    train, validation, test = features(60, False), features(20, False), features(20, True)
    found = objective.score_test(train, validation, test)
    chosen = objective.validate(train, validation)
    assert chosen["knn_top1"] == 1 and found["knn_top1"] == 0
    for name in ("knn_neighbors", "fine_knn_neighbors"):
        assert found[name] == chosen[name]
    # No ranking of all training images at every validation of a training.
    rankings = {"map", "fine_map", "fine_map_conditional", "fine_map_oracle"}
    assert rankings <= found.keys() and not rankings & chosen.keys()
    assert found["fine_map_oracle"] >= found["fine_map"]
    # The classifier, where one is trained, decides on the coarse class.
    known = dataclasses.replace(test, probabilities=np.eye(2)[test.labels])
    again = objective.score_test(train, validation, known)
    assert again["fine_map_conditional"] == found["fine_map_oracle"]
    assert found["fine_map_conditional"] < found["fine_map_oracle"]


def test_features_have_the_probabilities_of_the_heads_beside_them():
    student, (x, labels, _) = small_student(), batch(6)
    data = [(x[:4], labels[:4]), (x[4:], labels[4:])]
    alone = compute_features(student, data, 2, "test")
    found = compute_features(student, data, 2, "test", with_probabilities=True)
    assert alone.probabilities is None
    np.testing.assert_allclose(found.features, alone.features, rtol=1e-5, atol=1e-6)
    expected = keras.ops.softmax(student(x))
    np.testing.assert_allclose(found.probabilities, numpy(expected), rtol=1e-4, atol=1e-6)
