"""A step whose gradients are not finite is skipped and counted."""

import keras
import numpy as np
import pytest
from compilation import compiled_step
from harness import numpy

from keras_deit.optimizers import SGD, AdamW, Lamb, StepCosine

pytestmark = pytest.mark.backends("tensorflow", "jax", "torch")
KINDS = {
    "AdamW": lambda **values: AdamW(StepCosine(0.1, 9), **values),
    "AdamW, clipped": lambda **values: AdamW(StepCosine(0.1, 9), global_clipnorm=0.5, **values),
    "AdamW, clipped by value": lambda **values: AdamW(StepCosine(0.1, 9), clipvalue=0.5, **values),
    "Lamb": lambda **values: Lamb(StepCosine(0.1, 9), **values),
    "SGD": lambda **values: SGD(StepCosine(0.1, 9), **values),
}
by_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
BAD = {"nan": np.nan, "infinite": np.inf, "infinite norm": 1e30}


def test_what_all_variables_share_is_computed_once_a_step(monkeypatch):
    counts, corrections = [], AdamW._corrections

    def counted(self, dtype):
        counts.append(dtype)
        return corrections(self, dtype)

    monkeypatch.setattr(AdamW, "_corrections", counted)
    optimizer, trained = AdamW(0.1), variables()
    optimizer.build(trained)
    for step in gradients(2):
        optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in step])
    assert counts == ["float32"] * 2
    # Outside of a step nothing is kept.
    for index, gradient in enumerate(gradients(1)[0]):
        optimizer.update_step(keras.ops.convert_to_tensor(gradient), trained[index], 0.1)
    assert len(counts) == 4


def variables():
    rng = np.random.default_rng(0)
    values = [rng.normal(size=shape).astype("float32") for shape in ((3, 2), (4,))]
    return [keras.Variable(value, name="v") for value in values]


def gradients(count):
    rng = np.random.default_rng(1)
    return [
        [rng.normal(size=shape).astype("float32") for shape in ((3, 2), (4,))] for _ in range(count)
    ]


def with_last_value(step, value):
    """Returns the gradients with another value in the last one, not in the first."""
    first, last = (gradient.copy() for gradient in step)
    last[2] = value
    return [first, last]


class Training:
    """An optimizer, its variables and its compiled step."""

    def __init__(self, optimizer):
        self.optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        self.trained = variables()
        optimizer.build(self.trained)
        self._step = compiled_step(optimizer, self.trained)

    def apply(self, all_gradients):
        for step in all_gradients:
            self._step([keras.ops.convert_to_tensor(gradient) for gradient in step])

    def state(self):
        counted = {id(self.optimizer.nonfinite_steps), id(self.optimizer.first_nonfinite_step)}
        kept = [v for v in self.optimizer.variables if id(v) not in counted]
        return [numpy(v) for v in [*self.trained, *kept]]

    def counts(self):
        both = (self.optimizer.nonfinite_steps, self.optimizer.first_nonfinite_step)
        return tuple(int(numpy(count)) for count in both)


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(value, id=name, marks=() if name == "nan" else pytest.mark.slow)
        for name, value in BAD.items()
    ],
)
@by_kind
def test_a_nonfinite_step_changes_nothing_and_is_counted(kind, value):
    good = gradients(5)
    plain, disturbed = Training(kind()), Training(kind())
    plain.apply(good[:2])
    disturbed.apply(good[:2])
    assert disturbed.counts() == (0, -1)
    disturbed.apply([with_last_value(good[2], value)])
    assert_same(disturbed.state(), plain.state())
    assert disturbed.counts() == (1, 2)
    # It continues to the bit as if that step had never been, with the same schedule and moments.
    disturbed.apply([good[3], with_last_value(good[3], value), good[4]])
    plain.apply([good[3], good[4]])
    assert_same(disturbed.state(), plain.state())
    assert disturbed.counts() == (2, 2)
    assert int(numpy(disturbed.optimizer.iterations)) == 4


@by_kind
def test_an_accumulated_step_with_one_nonfinite_gradient_is_skipped(kind):
    good = gradients(6)
    plain = Training(kind(gradient_accumulation_steps=2))
    disturbed = Training(kind(gradient_accumulation_steps=2))
    plain.apply(good[:2] + good[4:])
    disturbed.apply([*good[:2], with_last_value(good[2], np.nan), good[3]])
    assert disturbed.counts() == (1, 3)
    assert int(numpy(disturbed.optimizer.iterations)) == 1
    disturbed.apply(good[4:])
    assert_same(disturbed.state(), plain.state())
    assert int(numpy(disturbed.optimizer.iterations)) == 2


@by_kind
def test_an_overflow_of_float16_is_not_counted(kind):
    """Keras's loss scale skips such a step and halves itself."""
    plain, disturbed = (
        Training(keras.optimizers.LossScaleOptimizer(kind(), initial_scale=4.0)) for _ in range(2)
    )
    good = gradients(3)
    plain.apply(good)
    disturbed.apply([*good[:2], with_last_value(good[2], np.inf)])
    assert disturbed.counts() == (0, -1)
    assert int(numpy(disturbed.optimizer.iterations)) == 2
    # The scale is halved now, so the scaled gradients are, too.
    disturbed.apply([[gradient / 2 for gradient in good[2]]])
    assert_same(disturbed.state(), plain.state())


@by_kind
def test_counts_are_part_of_the_optimizer_state(kind):
    training = Training(kind())
    training.apply([with_last_value(gradients(1)[0], np.nan)])
    store = {}
    training.optimizer.save_own_variables(store)
    twin = Training(kind())
    twin.optimizer.load_own_variables(store)
    assert twin.counts() == training.counts() == (1, 0)
