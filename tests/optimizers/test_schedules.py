"""The schedules against their formulas and the authors' numbers, at every step."""

import dataclasses

import keras
import numpy as np
import pytest
from compilation import compiled
from references import epoch_cosine, step_cosine

from keras_deit.optimizers import (
    EpochCosine,
    Optimization,
    StepCosine,
    StepDecay,
    build_optimizer,
    learning_rate_schedule,
)

on_all_backends = pytest.mark.backends("tensorflow", "jax", "torch")
# There are 10 epochs of 7 steps, 3 of warm-up. A batch of 256 halves the learning rate.
OPTIMIZATION = {
    "epochs": 10,
    "batch_size": 256,
    "learning_rate": 2e-3,
    "warmup_epochs": 3,
    "warmup_learning_rate": 1e-6,
    "min_learning_rate": 1e-5,
}
PEAK = 1e-3


def rates(schedule, steps):
    """Returns the learning rates at steps that are integer tensors, as those of an optimizer."""
    schedule = compiled(schedule)
    return [float(schedule(keras.ops.convert_to_tensor(step, "int32"))) for step in steps]


@pytest.mark.parametrize(
    ("changes", "warmup", "total", "values"),
    [
        pytest.param({}, 21, 70, {}, marks=on_all_backends),
        ({"warmup_epochs": 0}, 0, 70, {}),
        ({"warmup_epochs": 0.5}, 4, 70, {}),
        ({"warmup_epochs": 10}, 70, 70, {}),
        ({"min_learning_rate": PEAK}, 21, 70, {"end": PEAK}),
        ({"min_learning_rate": 2 * PEAK}, 21, 70, {"end": 2 * PEAK}),
    ],
    ids=str,
)
def test_step_cosine_agrees_with_its_formula(changes, warmup, total, values):
    schedule = learning_rate_schedule(Optimization(**{**OPTIMIZATION, **changes}), 7)
    steps = range(total + 5)
    expected = [step_cosine(step, PEAK, total, warmup, **values) for step in steps]
    np.testing.assert_allclose(rates(schedule, steps), expected, rtol=1e-6)


@on_all_backends
def test_epoch_cosine_agrees_with_the_authors_code():
    """These are the learning rates that DeiT's code gives in 300 epochs of 1,251 steps."""
    optimization = Optimization(schedule="epoch_cosine")
    schedule = learning_rate_schedule(optimization, 1251)
    first = rates(schedule, (epoch * 1251 for epoch in range(8)))
    authors = [1e-6, 1e-6, 2.008e-4, 4.006e-4, 6.004e-4, 8.002e-4, 9.9932e-4, 9.9902e-4]
    np.testing.assert_allclose(first, authors, rtol=5e-6)
    assert rates(schedule, [299 * 1251]) == [pytest.approx(1.0109e-5, abs=5e-10)]
    for offset in (0, 1250):
        expected = [epoch_cosine(epoch, 1e-3, 300, 5) for epoch in range(300)]
        found = rates(schedule, (epoch * 1251 + offset for epoch in range(300)))
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("learning_rate", "end"), [(5e-6, 5e-6), (5e-6, 1e-5), (1e-3, 1e-5)], ids=str
)
@pytest.mark.parametrize("warmup", [0, 2.5, 5])
def test_the_schedule_of_a_fine_tuning_can_be_flat_or_rise(learning_rate, end, warmup):
    optimization = Optimization(
        epochs=30,
        batch_size=512,
        learning_rate=learning_rate,
        schedule="epoch_cosine",
        warmup_epochs=warmup,
        min_learning_rate=end,
    )
    found = rates(learning_rate_schedule(optimization, 3), range(90))
    expected = [epoch_cosine(step // 3, learning_rate, 30, warmup, end=end) for step in range(90)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    after = found[21:]
    if learning_rate == end:
        np.testing.assert_allclose(after, end, rtol=1e-6)
    else:
        assert (np.diff(after[::3]) > 0).all() == (end > learning_rate)


@on_all_backends
def test_schedules_are_exact_beyond_the_integers_of_float32():
    steps = 2**17
    schedule = EpochCosine(1e-3, 300, steps)
    for epoch in (129, 130, 299):
        found = rates(schedule, [epoch * steps - 1, epoch * steps])
        expected = [epoch_cosine(e, 1e-3, 300, 5) for e in (epoch - 1, epoch)]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    total = 2**25
    late = [2**24 + 1, 2**24 + 3 * 10**6, total - 10**5, total]
    expected = [step_cosine(step, 1e-3, total, 10**5) for step in late]
    np.testing.assert_allclose(rates(StepCosine(1e-3, total, 10**5), late), expected, rtol=1e-6)


@on_all_backends
def test_a_schedule_of_steps_is_pytorchs_after_its_warm_up():
    """StepLR: 15 epochs of 7 steps at the peak, 15 at a tenth, and so on."""
    values = {"learning_rate": 1e-4, "learning_rate_scaling": False, "schedule": "step"}
    optimization = Optimization(
        **values, epochs=50, decay_epochs=15, warmup_epochs=0, min_learning_rate=0.0
    )
    found = rates(learning_rate_schedule(optimization, 7), range(50 * 7))
    expected = [1e-4 * 0.1 ** (step // 7 // 15) for step in range(50 * 7)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    changed = dataclasses.replace(
        optimization, warmup_epochs=1, decay_factor=0.5, min_learning_rate=3e-5
    )
    found = rates(learning_rate_schedule(changed, 7), [0, 7, 105, 210])
    np.testing.assert_allclose(found, [1e-6, 1e-4, 5e-5, 3e-5], rtol=1e-6)
    shorter, steps = dataclasses.replace(optimization, steps=100).in_epochs(100)
    assert (shorter.epochs, shorter.decay_epochs, steps) == (1, 0.3, 100)


@pytest.mark.parametrize(
    "schedule",
    [
        StepDecay(1e-3, 20, 0.5, 9, 2e-6, 3e-5),
        StepCosine(1e-3, 70, 21, 2e-6, 3e-5),
        EpochCosine(1e-3, 10, 7, 2.5, 2e-6, 3e-5),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_a_schedule_is_restored_from_its_configuration(schedule):
    twin = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert type(twin) is type(schedule)
    assert rates(twin, range(72)) == rates(schedule, range(72))


@on_all_backends
def test_the_lengths_of_an_adjustable_schedule_can_be_set_after_compilation():
    """A training with a time limit is compiled before its number of steps is known."""
    optimization = Optimization(epochs=100, batch_size=512, warmup_epochs=0, warmup_steps=2)
    images = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    weights = []
    for adjustable in (False, True):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.no_weight_decay = lambda: []
        steps = dataclasses.replace(optimization, epochs=1 if not adjustable else 100)
        optimizer = build_optimizer(model, steps, 6, adjustable)
        model.compile(optimizer, "mse")
        if adjustable:
            optimizer.build(model.trainable_variables)
            model.train_on_batch(images[:1], images[:1, :2])
            for variable in optimizer.variables:
                if "steps" not in variable.name:
                    variable.assign(np.zeros(variable.shape, variable.dtype))
            keras.utils.set_random_seed(0)
            model.set_weights(weights[0])
            optimizer.set_schedule(total_steps=6, warmup_steps=2)
        else:
            weights.append(model.get_weights())
        for _ in range(6):
            model.train_on_batch(images, images[:, :2])
        weights.append(model.get_weights())
    for expected, found in zip(*weights[1:], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
