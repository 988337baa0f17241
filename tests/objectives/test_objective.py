"""Objectives: their values, registration and layers, and supervised training against NumPy."""

import keras
import numpy as np
import pytest
from harness import numpy
from numpy_reference import (
    binary_label_crossentropy,
    label_crossentropy,
    sigmoid_label_crossentropy,
)
from small_models import CLASSES, JIT, assert_logs, batch, small_student
from two_views import TwoViews

from keras_deit import Distillation, InputError, Objective, Supervised, register_objective
from keras_deit.data import Augmentation
from keras_deit.models import Classifier
from keras_deit.objectives import TrainingModel, get_objective, registered_objectives
from keras_deit.optimizers import (
    Optimization,
    build_optimizer,
    learning_rate_factors,
    no_weight_decay_variables,
)

REFERENCES = {
    "cross_entropy": label_crossentropy,
    "binary_cross_entropy": binary_label_crossentropy,
    "sigmoid_cross_entropy": sigmoid_label_crossentropy,
}


def test_values_are_the_arguments_of_the_constructor():
    objective = Distillation("cross_entropy", kind="soft", alpha=0.3)
    assert objective.values == {**Distillation.defaults(), "kind": "soft", "alpha": 0.3}
    objective.values["alpha"] = 0.9
    assert objective.values["alpha"] == 0.3
    assert "kind='soft'" in repr(objective)


def test_a_copy_is_unbuilt_and_has_the_changed_values():
    objective = Supervised("sigmoid_cross_entropy")
    TrainingModel(small_student(), objective)
    copy = objective.copy()
    assert copy == objective and copy is not objective
    assert hasattr(objective, "heads") and not hasattr(copy, "heads")
    changed = Distillation(kind="soft", alpha=0.3).copy(alpha=0.4)
    assert (changed.kind, changed.alpha) == ("soft", 0.4)
    with pytest.raises(InputError, match=r"'alfa'.* alpha"):
        changed.copy(alfa=0.1)
    with pytest.raises(InputError, match="alpha"):
        changed.copy(alpha=2.0)


def test_objectives_of_equal_values_are_equal_and_have_one_hash():
    one, other = Distillation(alpha=1), Distillation("cross_entropy", alpha=1.0)
    assert one == other and hash(one) == hash(other)
    assert one != Distillation(alpha=0.5)
    assert Supervised() != Distillation(kind="none")
    assert len({one, other, Supervised()}) == 2


class _WithoutConstructor(Objective):
    pass


def test_an_objective_without_constructor_has_no_values():
    objective = _WithoutConstructor()
    assert objective.values == _WithoutConstructor.defaults() == {}
    assert objective.copy() == objective


class _WithoutDefault(Objective):
    def __init__(self, width):
        self.width = width


class _WithoutNames(Objective):
    def __init__(self, width: int = 1, **others):
        self.width = width


@pytest.mark.parametrize(
    ("cls", "message"),
    [(_WithoutDefault, "'width'.*default"), (_WithoutNames, "_WithoutNames"), (dict, "dict")],
)
def test_classes_that_cannot_be_registered(cls, message):
    before = registered_objectives()
    with pytest.raises(InputError, match=message):
        register_objective(cls)
    assert registered_objectives() == before


def test_objectives_are_found_by_the_name_of_the_class():
    assert get_objective("distillation") is Distillation
    assert registered_objectives()["supervised"] is Supervised
    with pytest.raises(InputError, match=r"'supervized'.* supervised"):
        get_objective("supervized")


def test_binary_cross_entropy_is_refused_with_label_smoothing():
    objective = Supervised("binary_cross_entropy")
    with pytest.raises(InputError, match=r"label_smoothing=0\.1"):
        objective.check(Augmentation(label_smoothing=0.1))
    objective.check(Augmentation(label_smoothing=0.0))
    Supervised().check(Augmentation(label_smoothing=0.1))


def supervised_logs(model, loss, x, y, weights, per_head_loss=False):
    """Returns what a step of `Supervised` logs, computed by NumPy from the logits of the heads."""
    heads = {name: numpy(logits) for name, logits in model(x).items()}
    fused = np.mean(list(heads.values()), axis=0)
    truth = y if y.ndim == 1 else y.argmax(axis=-1)
    targets = np.eye(CLASSES)[y] if loss == "sigmoid_cross_entropy" and y.ndim == 1 else y
    judged = list(heads.values()) if per_head_loss else [fused]
    expected = np.mean([(REFERENCES[loss](targets, x) * weights).mean() for x in judged])

    def accuracy(logits):
        return ((logits.argmax(axis=-1) == truth) * weights).sum() / weights.sum()

    logs = {"loss": expected, "class_loss": expected, "accuracy": accuracy(fused)}
    if len(heads) > 1:
        logs |= {f"{name}_accuracy": accuracy(logits) for name, logits in heads.items()}
    return logs


@pytest.mark.parametrize(
    ("loss", "labels", "distilled", "per_head_loss"),
    [
        *[(loss, "distributions", True, False) for loss in REFERENCES],
        ("cross_entropy", "integers", True, False),
        ("cross_entropy", "integers", True, True),
        ("sigmoid_cross_entropy", "distributions", False, False),
        ("sigmoid_cross_entropy", "distributions", False, True),
    ],
)
def test_supervised_training_agrees_with_numpy(loss, labels, distilled, per_head_loss):
    objective = Supervised(loss, per_head_loss=per_head_loss)
    model = TrainingModel(small_student(distilled), objective)
    model.compile("sgd", jit_compile=False)
    x, y, weights = batch(labels=labels)
    expected = supervised_logs(model, loss, x, y, weights, per_head_loss)
    assert_logs(model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True), expected)
    assert_logs(model.train_on_batch(x, y, weights, return_dict=True), expected)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")  # those of the heads
@pytest.mark.backends("tensorflow", "jax", "torch")
def test_layers_of_an_objective_are_trained():
    keras.utils.set_random_seed(1)
    objective = TwoViews()
    model = TrainingModel(small_student(), objective, ema_decay=0.9)
    model.compile(keras.optimizers.Adam(0.01), jit_compile=JIT)
    before = [numpy(weight) for layer in objective.projector for weight in layer.weights]
    rng = np.random.default_rng(0)
    views = rng.normal(size=(8, 2, 8, 8, 3)).astype("float32")
    history = model.fit(views, np.zeros(8), batch_size=4, epochs=3, verbose=0).history
    assert set(history) == {"loss", "similarity"}
    assert history["similarity"][2] > history["similarity"][0]
    np.testing.assert_allclose(history["loss"], -np.array(history["similarity"]), rtol=1e-5)
    after = [numpy(weight) for layer in objective.projector for weight in layer.weights]
    assert all(np.abs(a - b).max() > 1e-4 for a, b in zip(before, after, strict=True))


def test_layers_in_a_list_of_the_objective_are_tracked():
    objective = TwoViews()
    model = TrainingModel(small_student(), objective)
    # The model of the features belongs to the student.
    assert model.objective_layers == objective.projector
    own = {id(v) for layer in objective.projector for v in layer.variables}
    student = {id(v) for v in model.student.trainable_variables}
    assert len(own) == 4
    assert {id(v) for v in model.trainable_variables} == own | student


class _SharedModel(TwoViews):
    """Has one model from the images to the projected features."""

    def build(self, model):
        Objective.build(self, model)
        features = model.head_layers["class"].input
        projected = keras.layers.Dense(self.width, name="projector")(features)
        self.projected = keras.Model(model.input, projected)


def test_layers_of_a_model_on_top_of_the_student_belong_to_the_objective():
    model = TrainingModel(small_student(), _SharedModel())
    assert [layer.name for layer in model.objective_layers] == ["projector"]


def test_weight_decay_and_layer_decay_of_the_layers_of_an_objective():
    """The projector is as far from the images as the heads, and its biases do not decay."""
    model = TrainingModel(small_student(depth=2), TwoViews())
    without = {variable.path for variable in no_weight_decay_variables(model)}
    names = {v.path for v in model.trainable_variables if "projector" in v.path}
    assert len(names) == 4
    assert names & without == {"projector/bias", "projector_hidden/bias"}
    assert "class_token/token" in without
    factors = learning_rate_factors(model, 0.5)
    assert {factors[name] for name in names} == {1.0} == {factors["class_head/kernel"]}
    assert factors["block_1/mlp/expand/kernel"] == 0.5
    assert factors["patch_embedding/projection/kernel"] == 0.125
    optimizer = build_optimizer(model, Optimization(layer_decay=0.5), 3)
    assert dict(optimizer.learning_rate_factors) == factors
    assert set(optimizer.no_weight_decay) == without


class _Momentum(TwoViews):
    """Has a second model of the student's family, as MoCo, BYOL and DINO have."""

    def build(self, model):
        super().build(model)
        self.momentum = type(model).from_config({**model.get_config(), "name": "momentum"})
        self.momentum.trainable = self.trained


@pytest.mark.parametrize("trained", [False, True])
def test_a_model_in_an_objective_answers_as_a_layer(trained):
    objective = _Momentum()
    objective.trained = trained
    model = TrainingModel(small_student(depth=2), objective)
    listed = {id(variable) for variable in model.no_weight_decay()}
    assert {id(variable) for variable in objective.momentum.no_weight_decay()} <= listed
    optimizer = build_optimizer(model, Optimization(), 3)
    assert "class_token/token" in optimizer.no_weight_decay
    if trained:
        # Its blocks would be in the group of the heads, and those of the student are not.
        with pytest.raises(InputError, match=r"same path.* class_token/token"):
            learning_rate_factors(model, 0.5)
    else:
        assert learning_rate_factors(model, 0.5)["block_1/mlp/expand/kernel"] == 0.5


class _Asking(keras.layers.Dense):
    """Has a bug in a method that the package asks."""

    def no_weight_decay(self):
        return [self.no_such_attribute]


def test_an_error_of_a_layer_is_not_hidden():
    images = keras.Input((8, 8, 3))
    logits = _Asking(3, name="head")(keras.layers.Flatten()(images))
    for student in (keras.Model(images, logits), Classifier(images, {"class": logits})):
        for model in (student, TrainingModel(student, Supervised())):
            with pytest.raises(AttributeError, match="no_such_attribute"):
                build_optimizer(model, Optimization(), 3)


class _Unbuilt(TwoViews):
    def build(self, model):
        Objective.build(self, model)
        self.projector = [keras.layers.Dense(self.width, name="lazy")]


def test_a_layer_that_is_not_built_is_refused():
    with pytest.raises(InputError, match=r"_Unbuilt.* lazy .*`build`"):
        TrainingModel(small_student(), _Unbuilt())


def test_layer_decay_needs_a_student_that_groups_its_layers():
    images = keras.Input((8, 8, 3))
    student = keras.Model(images, keras.layers.Dense(3)(keras.layers.Flatten()(images)))
    with pytest.raises(InputError, match="layer_groups"):
        learning_rate_factors(TrainingModel(student, Supervised()), 0.5)
