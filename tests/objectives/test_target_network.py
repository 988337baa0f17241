"""A target network against NumPy: its averages, what it computes, and its gradient."""

import math

import numpy as np
import pytest
from bootstrap import Bootstrap
from harness import numpy
from small_models import JIT, batch, small_student

from keras_deit import InputError
from keras_deit.objectives import TargetNetwork, TrainingModel
from keras_deit.optimizers import SGD

on_all_backends = pytest.mark.backends("tensorflow", "jax", "torch")


def compiled(optimizer, jit_compile=JIT, **values):
    model = TrainingModel(small_student(distilled=False), Bootstrap(**values))
    model.compile(optimizer, jit_compile=jit_compile)
    return model


def of_student(model):
    """Returns the values of the weights that the target averages, without the class head's."""
    return [numpy(w) for part in model.objective.parts for w in part.weights]


def of_target(model):
    return [numpy(average) for average in model.objective.target._averages]


def assert_close(found, expected, tolerance=1e-6):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("jit_compile", [pytest.param(JIT, marks=on_all_backends), "auto"])
def test_its_weights_are_the_moving_average_and_its_momentum_grows_to_one(jit_compile):
    model = compiled(SGD(0.1, momentum=0.0), jit_compile, momentum=0.5, steps=3)
    x, y, _ = batch()
    expected = of_student(model)
    assert_close(of_target(model), expected)
    for step in range(4):
        model.train_on_batch(x, y)
        share = (1 - 0.5) * (1 + math.cos(math.pi * min(step / 3, 1))) / 2
        pairs = zip(expected, of_student(model), strict=True)
        expected = [average + share * (weight - average) for average, weight in pairs]
        assert_close(of_target(model), expected)
    behind = zip(expected, of_student(model), strict=True)
    assert max(np.abs(a - b).max() for a, b in behind) > 1e-3


@on_all_backends
def test_it_computes_with_its_own_weights_and_has_no_gradient():
    model = compiled(SGD(0.1, momentum=0.0), momentum=1.0)
    x, y, _ = batch()
    first = numpy(model(x)["target"])
    kernel = numpy(model.objective.parts[1].bias)
    outputs = model(x)
    model.train_on_batch(x, y)
    # d/db of mean((s − t − 1)²) over 5 features, where only the student has a gradient.
    difference = numpy(outputs["student"]) - first - 1
    expected = kernel - 0.1 * 2 * difference.mean(axis=0) / 5
    np.testing.assert_allclose(numpy(model.objective.parts[1].bias), expected, atol=1e-6)
    again = model(x)
    np.testing.assert_allclose(numpy(again["target"]), first, atol=1e-6)
    assert np.abs(numpy(again["student"]) - first).max() > 1e-2
    assert not model.objective.target.trainable_variables


@pytest.mark.backends("tensorflow", "jax")
def test_it_moves_once_in_an_accumulated_step_and_not_in_a_skipped_one():
    optimizer = SGD(0.1, momentum=0.0, gradient_accumulation_steps=2)
    model = compiled(optimizer, momentum=0.25)
    x, y, _ = batch()
    start = of_student(model)
    model.train_on_batch(x, y)
    assert_close(of_target(model), start)
    model.train_on_batch(x, y)
    pairs = zip(start, of_student(model), strict=True)
    expected = [0.25 * average + 0.75 * weight for average, weight in pairs]
    assert_close(of_target(model), expected)
    for images in (x, x * np.nan):
        model.train_on_batch(images, y)
    assert int(numpy(optimizer.nonfinite_steps)) == 1
    assert_close(of_target(model), expected)


def test_a_momentum_out_of_range_is_refused():
    with pytest.raises(InputError, match=r"momentum.*1\.5"):
        TargetNetwork([small_student()], 1.5)
