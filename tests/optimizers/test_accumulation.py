"""A batch in parts, one after the other, trains as the whole batch does."""

import keras
import numpy as np
import pytest
from harness import numpy

from keras_deit import Distiller, InputError
from keras_deit.models import DeiT
from keras_deit.optimizers import Optimization, build_optimizer, building

STEPS, BATCH_SIZE = 4, 12
KINDS = {
    # ε above the gradients of the keys' bias, which are nothing but rounding.
    "adamw": {"adam_epsilon": 1e-4, "clip_norm": 0.5},
    "lamb": {"optimizer": "lamb", "adam_epsilon": 1e-4, "weight_decay": 0.2},
    "sgd": {"optimizer": "sgd", "clip_norm": 0.05, "learning_rate": 20.0},
}


def train(values, parts):
    """Four steps in two epochs of a schedule that changes at every step."""
    keras.utils.set_random_seed(0)
    sizes = {"image_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2}
    student = DeiT(**sizes, num_classes=3)
    distiller = Distiller(student, kind="none", ema_decay=0.7)
    optimization = Optimization(
        **{
            "epochs": 2,
            "batch_size": BATCH_SIZE,
            "accumulation_steps": parts,
            "warmup_epochs": 1,
            "learning_rate": 1.0,
            "min_learning_rate": 1e-3,
            **values,
        }
    )
    start = state(distiller)
    # XLA compiles longer than all these steps take; JAX cannot do without.
    jit = keras.backend.backend() == "jax"
    distiller.compile(build_optimizer(student, optimization, STEPS // 2), jit_compile=jit)
    rng = np.random.default_rng(1)
    images = rng.normal(size=(STEPS * BATCH_SIZE, 8, 8, 3)).astype("float32")
    labels = rng.integers(0, 3, len(images))
    rates = []
    for index in range(STEPS * parts):
        rates.append(float(numpy(distiller.optimizer.learning_rate)))
        size = BATCH_SIZE // parts
        rows = slice(index * size, (index + 1) * size)
        distiller.train_on_batch(images[rows], labels[rows])
    return distiller, start, rates


def state(distiller):
    """The student's weights and their averages."""
    return [numpy(weight) for weight in distiller.weights]


def largest_difference(first, second):
    return max(float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("values", KINDS.values(), ids=KINDS)
def test_three_parts_of_a_batch_train_as_the_batch_does(values):
    whole, start, rates = train(values, 1)
    in_parts, _, rates_in_parts = train(values, 3)
    assert largest_difference(state(whole), start) > 1e-2
    assert largest_difference(state(whole), state(in_parts)) < 1e-6
    # Schedule and averages move once a step.
    assert rates_in_parts == [rate for rate in rates for _ in range(3)]
    assert len(set(rates)) == STEPS
    for distiller in (whole, in_parts):
        assert int(numpy(distiller.optimizer.iterations)) == STEPS


def test_parts_that_a_batch_cannot_have_are_refused():
    for parts in (0, 5):
        with pytest.raises(InputError, match=rf"a divisor of batch_size=12\. Received: {parts}"):
            Optimization(batch_size=12, accumulation_steps=parts)


def test_accumulation_under_tf_distribute_is_refused(monkeypatch):
    monkeypatch.setattr(building, "num_replicas_in_sync", lambda: 2)
    student = DeiT(image_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=2, num_classes=3)
    with pytest.raises(InputError, match=r"does not work .* mirrored .* JAX with every strategy"):
        build_optimizer(student, Optimization(accumulation_steps=2), 1)
    build_optimizer(student, Optimization(), 1)
