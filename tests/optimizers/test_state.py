"""Training goes on from what was saved, to the bit, as if it had not stopped."""

import keras
import numpy as np
import pytest
from harness import numpy

from keras_deit import Distiller
from keras_deit.models import DeiT
from keras_deit.optimizers import Optimization, build_optimizer

CASES = {
    "adamw": {},
    "lamb": {"optimizer": "lamb", "weight_decay": 0.2, "layer_decay": 0.75},
    "sgd": {"optimizer": "sgd", "clip_norm": 0.5},
}
STEPS = 4


def new_distiller(values):
    keras.utils.set_random_seed(0)
    sizes = {"image_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2}
    student = DeiT(**sizes, num_classes=3)
    distiller = Distiller(student, kind="none", ema_decay=0.9)
    # Two steps an epoch: the schedule moves from the second epoch on.
    optimization = Optimization(
        epochs=4, warmup_epochs=2, learning_rate=0.05, schedule="epoch_cosine", **values
    )
    # XLA compiles longer than all these steps take; JAX cannot do without.
    jit = keras.backend.backend() == "jax"
    distiller.compile(build_optimizer(student, optimization, 2), jit_compile=jit)
    return distiller


def train(distiller, first):
    """Steps `first` to `first + STEPS`, each with images of its own."""
    for step in range(first, first + STEPS):
        rng = np.random.default_rng(step)
        images = rng.normal(size=(6, 8, 8, 3)).astype("float32")
        distiller.train_on_batch(images, rng.integers(0, 3, 6))


def state(distiller):
    return [numpy(v) for v in [*distiller.weights, *distiller.optimizer.variables]]


def moving(distiller):
    """What every step changes: not the counts of steps that were not taken."""
    optimizer = distiller.optimizer
    counts = {optimizer.nonfinite_steps.path, optimizer.first_nonfinite_step.path}
    variables = [*distiller.weights, *optimizer.variables]
    return [numpy(v) for v in variables if v.path not in counts]


def through_a_file(distiller, values, folder):
    distiller.save(folder / "distiller.keras")
    return keras.saving.load_model(folder / "distiller.keras")


def through_parts(distiller, values, folder):
    """Fresh objects, made as every start makes them, that take in what the old ones held."""
    distiller.student.save_weights(folder / "student.weights.h5")
    store = {}
    distiller.optimizer.save_own_variables(store)
    twin = new_distiller(values)
    twin.student.load_weights(folder / "student.weights.h5")
    twin.ema.set_weights(distiller.ema.get_weights())
    twin.optimizer.build(twin.trainable_variables)
    twin.optimizer.load_own_variables(store)
    return twin


@pytest.mark.parametrize("way", [through_a_file, through_parts])
@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_training_goes_on_to_the_bit(values, way, tmp_path):
    whole = new_distiller(values)
    train(whole, 0)
    early, moved_early = state(whole), moving(whole)
    train(whole, STEPS)
    part = new_distiller(values)
    train(part, 0)
    part = way(part, values, tmp_path)
    for one, other in zip(state(part), early, strict=True):
        np.testing.assert_array_equal(one, other)
    train(part, STEPS)
    for one, other in zip(state(part), state(whole), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(moving(whole), moved_early, strict=True):
        assert not np.array_equal(one, other)


@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_groups_and_schedule_come_back_from_a_file(values, tmp_path):
    distiller = new_distiller(values)
    train(distiller, 0)
    loaded = through_a_file(distiller, values, tmp_path).optimizer
    assert loaded.get_config() == distiller.optimizer.get_config()
    no_weight_decay = loaded.get_config()["no_weight_decay"]
    assert "class_token/token" in no_weight_decay and "class_head/kernel" not in no_weight_decay
    assert float(loaded.learning_rate) == float(distiller.optimizer.learning_rate)
