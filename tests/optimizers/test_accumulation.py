"""Gradient accumulation: micro-batches train as the whole batch does."""

import keras
import numpy as np
import pytest
from harness import numpy

from keras_deit import Distiller, InputError
from keras_deit.optimizers import Optimization, build_optimizer, building

STEPS, BATCH_SIZE = 4, 12
OPTIMIZERS = {
    "adamw": {"adam_epsilon": 1e-4, "clip_norm": 0.5},
    "lamb": {"optimizer": "lamb", "adam_epsilon": 1e-4, "weight_decay": 0.2},
    "sgd": {"optimizer": "sgd", "clip_norm": 0.05, "learning_rate": 20.0},
}


def small_student():
    images = keras.Input((4, 4, 3))
    x = keras.layers.Dense(8, "gelu")(keras.layers.Flatten()(images))
    return keras.Model(images, keras.layers.Dense(3)(keras.layers.LayerNormalization()(x)))


def train(values, micro_batches):
    """Trains four steps in two epochs of a schedule that changes at every step."""
    keras.utils.set_random_seed(0)
    student = small_student()
    distiller = Distiller(student, kind="none", ema_decay=0.7)
    optimization = Optimization(
        **{
            "epochs": 2,
            "batch_size": BATCH_SIZE,
            "accumulation_steps": micro_batches,
            "warmup_epochs": 1,
            "learning_rate": 1.0,
            "min_learning_rate": 1e-3,
            **values,
        }
    )
    start = state(distiller)
    # XLA takes longer to compile than all these steps take. JAX cannot do without.
    jit = keras.backend.backend() == "jax"
    distiller.compile(build_optimizer(student, optimization, STEPS // 2), jit_compile=jit)
    rng = np.random.default_rng(1)
    images = rng.normal(size=(STEPS * BATCH_SIZE, 4, 4, 3)).astype("float32")
    labels = rng.integers(0, 3, len(images))
    rates = []
    for index in range(STEPS * micro_batches):
        rates.append(float(numpy(distiller.optimizer.learning_rate)))
        size = BATCH_SIZE // micro_batches
        rows = slice(index * size, (index + 1) * size)
        distiller.train_on_batch(images[rows], labels[rows])
    return distiller, start, rates


def state(distiller):
    """Returns the student's weights and their EMA."""
    return [numpy(weight) for weight in distiller.weights]


def largest_difference(first, second):
    return max(float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True))


@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.parametrize(
    "values",
    [
        pytest.param(values, id=name, marks=() if name == "adamw" else pytest.mark.slow)
        for name, values in OPTIMIZERS.items()
    ],
)
def test_three_micro_batches_train_as_the_whole_batch(values):
    whole, start, rates = train(values, 1)
    accumulated, _, rates_of_micro_batches = train(values, 3)
    assert largest_difference(state(whole), start) > 1e-2
    assert largest_difference(state(whole), state(accumulated)) < 1e-6
    # The schedule and the EMA change once in a step.
    assert rates_of_micro_batches == [rate for rate in rates for _ in range(3)]
    assert len(set(rates)) == STEPS
    for distiller in (whole, accumulated):
        assert int(numpy(distiller.optimizer.iterations)) == STEPS


@pytest.mark.parametrize("steps", [0, 5])
def test_accumulation_steps_divide_the_batch_size(steps):
    with pytest.raises(InputError, match=rf"accumulation_steps .*batch_size=12.*: {steps}"):
        Optimization(batch_size=12, accumulation_steps=steps)


def test_accumulation_under_tf_distribute_is_refused(monkeypatch):
    monkeypatch.setattr(building, "num_replicas_in_sync", lambda: 2)
    with pytest.raises(InputError, match=r"accumulation_steps.*mirrored"):
        build_optimizer(small_student(), Optimization(accumulation_steps=2), 1)
    build_optimizer(small_student(), Optimization(), 1)
