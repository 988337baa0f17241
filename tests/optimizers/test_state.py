"""A resumed training continues exactly, to the bit."""

import keras
import numpy as np
import pytest
from harness import numpy

from keras_deit import Distiller
from keras_deit.models import DeiT
from keras_deit.optimizers import Optimization, build_optimizer

CASES = {
    "lamb": {"optimizer": "lamb", "weight_decay": 0.2, "layer_decay": 0.75},
    "adamw": {},
    "sgd": {"optimizer": "sgd", "clip_norm": 0.5},
}
STEPS = 4
on_all_backends = pytest.mark.backends("tensorflow", "jax", "torch")


def new_distiller(values):
    keras.utils.set_random_seed(0)
    sizes = {"image_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2}
    student = DeiT(**sizes, num_classes=3)
    distiller = Distiller(student, kind="none", ema_decay=0.9)
    # With two steps in an epoch the schedule changes from the second epoch on.
    optimization = Optimization(
        epochs=4, warmup_epochs=2, learning_rate=0.05, schedule="epoch_cosine", **values
    )
    # XLA takes longer to compile than all these steps take. JAX cannot do without.
    jit = keras.backend.backend() == "jax"
    distiller.compile(build_optimizer(student, optimization, 2), jit_compile=jit)
    return distiller


def train(distiller, first):
    """Trains the steps from `first` to `first + STEPS`, each on images of its own."""
    for step in range(first, first + STEPS):
        rng = np.random.default_rng(step)
        images = rng.normal(size=(6, 8, 8, 3)).astype("float32")
        distiller.train_on_batch(images, rng.integers(0, 3, 6))


def state(distiller):
    return [numpy(v) for v in [*distiller.weights, *distiller.optimizer.variables]]


def changing(distiller):
    """Returns the state that every step changes: without the counts of skipped steps."""
    optimizer = distiller.optimizer
    counts = {optimizer.nonfinite_steps.path, optimizer.first_nonfinite_step.path}
    variables = [*distiller.weights, *optimizer.variables]
    return [numpy(v) for v in variables if v.path not in counts]


class KerasFile:
    """Saves a training in one `.keras` file."""

    def save(self, distiller, folder):
        self._path = folder / "distiller.keras"
        distiller.save(self._path)

    def load(self, values):
        return keras.saving.load_model(self._path)


class Parts:
    """Saves the weights and the optimizer's state, as a new start builds the objects again."""

    def save(self, distiller, folder):
        self._path = folder / "student.weights.h5"
        distiller.student.save_weights(self._path)
        self._averages = distiller.ema.get_weights()
        self._optimizer = {}
        distiller.optimizer.save_own_variables(self._optimizer)

    def load(self, values):
        distiller = new_distiller(values)
        distiller.student.load_weights(self._path)
        distiller.ema.set_weights(self._averages)
        distiller.optimizer.build(distiller.trainable_variables)
        distiller.optimizer.load_own_variables(self._optimizer)
        return distiller


class Training:
    """A training of twice `STEPS` steps that was saved in the middle in both ways."""

    def __init__(self, values, folder):
        self.values = values
        self.saved = {kind: kind() for kind in (KerasFile, Parts)}
        distiller = new_distiller(values)
        train(distiller, 0)
        self.middle, self.changing_middle = state(distiller), changing(distiller)
        self.config = distiller.optimizer.get_config()
        self.learning_rate = float(distiller.optimizer.learning_rate)
        for saved in self.saved.values():
            saved.save(distiller, folder)
        train(distiller, STEPS)
        self.end, self.changing_end = state(distiller), changing(distiller)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(CASES["lamb"], id="lamb", marks=on_all_backends),
        pytest.param(CASES["adamw"], id="adamw", marks=pytest.mark.slow),
        pytest.param(CASES["sgd"], id="sgd", marks=pytest.mark.slow),
    ],
)
def training(request, tmp_path_factory):
    return Training(request.param, tmp_path_factory.mktemp("training"))


@pytest.mark.parametrize("kind", [KerasFile, Parts])
def test_a_resumed_training_continues_to_the_bit(training, kind):
    resumed = training.saved[kind].load(training.values)
    for one, other in zip(state(resumed), training.middle, strict=True):
        np.testing.assert_array_equal(one, other)
    train(resumed, STEPS)
    for one, other in zip(state(resumed), training.end, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(training.changing_middle, training.changing_end, strict=True):
        assert not np.array_equal(one, other)


def test_groups_and_schedule_are_restored_from_a_file(training):
    optimizer = training.saved[KerasFile].load(training.values).optimizer
    assert optimizer.get_config() == training.config
    no_weight_decay = optimizer.get_config()["no_weight_decay"]
    assert "class_token/token" in no_weight_decay and "class_head/kernel" not in no_weight_decay
    assert float(optimizer.learning_rate) == training.learning_rate
