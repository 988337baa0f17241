"""The optimizers against NumPy, and against those that PyTorch has."""

import keras
import numpy as np
import pytest
import references
from compilation import compiled_step
from harness import numpy

from keras_deit.optimizers import SGD, Adam, AdamW, Lamb, StepCosine

on_all_backends = pytest.mark.backends("tensorflow", "jax", "torch")
STEPS = 20
SHAPES = {"a/kernel": (4, 3), "b/kernel": (3, 5), "c/bias": (5,), "d/token": (1, 1, 3)}
NO_WEIGHT_DECAY = ("c/bias", "d/token")
FACTORS = {"a/kernel": 0.25, "c/bias": 0.5}
SCHEDULE = {"peak": 3e-2, "total_steps": 30, "warmup_steps": 5, "start": 1e-3, "end": 1e-4}
RATES = [references.step_cosine(t, 3e-2, 30, 5, 1e-3, 1e-4) for t in range(STEPS)]
DECAY = 0.2

# The class and its arguments; the reference, its last argument and its clipping.
CASES = {
    "AdamW": (AdamW, {"epsilon": 1e-8}, references.adamw, 1e-8, None),
    "AdamW, large ε": (AdamW, {"epsilon": 1e-3}, references.adamw, 1e-3, None),
    "AdamW, clipped": (AdamW, {"global_clipnorm": 0.5}, references.adamw, 1e-8, 0.5),
    "Adam": (Adam, {}, references.adam, 1e-8, None),
    "Lamb": (Lamb, {}, references.lamb, 1e-8, 1.0),
    "Lamb, unclipped": (Lamb, {"global_clipnorm": None}, references.lamb, 1e-8, None),
    "SGD": (SGD, {}, references.sgd, 0.9, None),
    "SGD, plain": (SGD, {"nesterov": False}, references.heavy_ball, 0.9, None),
    "SGD, clipped": (SGD, {"momentum": 0.5, "global_clipnorm": 0.5}, references.sgd, 0.5, 0.5),
}
by_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def start():
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.5, shape).astype("float32") for shape in SHAPES.values()]


def gradients():
    """Returns gradients with global norms from 0.1 to 5; those of the last variable are so small
    that ε matters."""
    rng = np.random.default_rng(1)
    scales = rng.uniform(0.02, 1, STEPS)
    return [
        [
            (scale * rng.normal(size=shape) * (1e-7 if name == "d/token" else 1)).astype("float32")
            for name, shape in SHAPES.items()
        ]
        for scale in scales
    ]


def variables(values):
    """Returns variables with the paths of those of a model."""
    made = []
    for path, value in zip(SHAPES, values, strict=True):
        scope, name = path.split("/")
        with keras.name_scope(scope):
            made.append(keras.Variable(value, name=name))
    assert [variable.path for variable in made] == list(SHAPES)
    return made


def apply(optimizer, made, all_gradients):
    optimizer.build(made)
    step = compiled_step(optimizer, made)
    for one in all_gradients:
        step([keras.ops.convert_to_tensor(gradient) for gradient in one])
    return [numpy(variable) for variable in made]


def groups(decay=DECAY, no_weight_decay=NO_WEIGHT_DECAY, factors=FACTORS):
    return [(0.0 if path in no_weight_decay else decay, factors.get(path, 1.0)) for path in SHAPES]


@on_all_backends
@by_case
def test_twenty_steps_with_groups_agree_with_numpy(case):
    kind, values, reference, last, clip = case
    optimizer = kind(
        StepCosine(**SCHEDULE),
        weight_decay=DECAY,
        no_weight_decay=NO_WEIGHT_DECAY,
        learning_rate_factors=FACTORS,
        **values,
    )
    found = apply(optimizer, variables(start()), gradients())
    expected = references.train(reference, start(), gradients(), RATES, groups(), last, clip)
    for path, one, other, before in zip(SHAPES, found, expected, start(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6, err_msg=path)
        assert np.abs(other - before).max() > (1e-10 if path == "d/token" else 1e-2)


@pytest.mark.parametrize("change", ["no_weight_decay", "factors", "decay"])
@by_case
def test_groups_make_a_difference_to_the_reference(case, change):
    """Without them the test above would see differences far above its tolerance."""
    _, _, reference, last, clip = case
    without = {"no_weight_decay": (), "factors": {}, "decay": 0.0}
    here, there = (
        references.train(reference, start(), gradients(), RATES, which, last, clip)
        for which in (groups(), groups(**{change: without[change]}))
    )
    assert max(np.abs(one - other).max() for one, other in zip(here, there, strict=True)) > 1e-4


@pytest.mark.parametrize("name", ["AdamW", "AdamW, large ε", "Adam", "SGD", "SGD, plain"])
def test_twenty_steps_agree_with_pytorch(name):
    torch = pytest.importorskip("torch")
    kind, values, _, _, _ = CASES[name]
    ours = kind(
        0.01, DECAY, no_weight_decay=NO_WEIGHT_DECAY, learning_rate_factors=FACTORS, **values
    )
    found = apply(ours, variables(start()), gradients())
    parameters = [torch.nn.Parameter(torch.tensor(value)) for value in start()]
    parameter_groups = [
        {"params": [parameter], "weight_decay": decay, "lr": 0.01 * factor}
        for parameter, (decay, factor) in zip(parameters, groups(), strict=True)
    ]
    if kind is SGD:
        optimizer = torch.optim.SGD(
            parameter_groups, momentum=0.9, nesterov=values.get("nesterov", True)
        )
    else:
        theirs = torch.optim.Adam if kind is Adam else torch.optim.AdamW
        optimizer = theirs(parameter_groups, eps=values.get("epsilon", 1e-8))
    for step in gradients():
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = torch.tensor(gradient)
        optimizer.step()
    for one, other in zip(found, parameters, strict=True):
        np.testing.assert_allclose(one, other.detach().numpy(), rtol=1e-6, atol=1e-6)


@on_all_backends
def test_lamb_has_the_trust_ratio_1_if_a_norm_is_0():
    """The norm of a variable of zeros is 0, as is that of an update without gradient."""
    zeros = [np.zeros(shape, "float32") for shape in SHAPES.values()]
    optimizer = Lamb(0.1, weight_decay=0.0, global_clipnorm=None)
    found = apply(optimizer, variables(zeros), gradients()[:1])
    for path, values, gradient in zip(SHAPES, found, gradients()[0], strict=True):
        update = gradient / (np.abs(gradient) + 1e-8)
        np.testing.assert_allclose(values, -0.1 * update, rtol=1e-5, err_msg=path)
    decayed = Lamb(0.1, weight_decay=0.5, global_clipnorm=None)
    (found, *_) = apply(decayed, variables(zeros), [zeros])
    assert (found == 0).all()


@on_all_backends
def test_gradients_are_clipped_after_unscaling():
    """The norm that is clipped is that of the true gradients, not of the scaled ones."""
    scaled = [[g * np.float32(2**10) for g in step] for step in gradients()]
    inner = SGD(0.1, global_clipnorm=0.5)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**10)
    found = apply(optimizer, variables(start()), scaled)
    expected = apply(SGD(0.1, global_clipnorm=0.5), variables(start()), gradients())
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@by_case
def test_two_equal_gradients_accumulate_to_the_same_step(case):
    kind, values, *_ = case
    plain = kind(0.01, no_weight_decay=NO_WEIGHT_DECAY, **values)
    halves = kind(0.01, no_weight_decay=NO_WEIGHT_DECAY, gradient_accumulation_steps=2, **values)
    twice = [step for step in gradients()[:5] for _ in range(2)]
    found, expected = (
        apply(optimizer, variables(start()), steps)
        for optimizer, steps in ((halves, twice), (plain, gradients()[:5]))
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@by_case
def test_an_optimizer_is_restored_from_its_configuration(case):
    kind, values, *_ = case
    optimizer = kind(
        StepCosine(**SCHEDULE),
        0.3,
        no_weight_decay=NO_WEIGHT_DECAY,
        learning_rate_factors=FACTORS,
        **values,
    )
    twin = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert twin.get_config() == optimizer.get_config()
    for one, other in zip(
        *(apply(each, variables(start()), gradients()[:3]) for each in (optimizer, twin)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_a_configuration_of_an_earlier_version_is_restored():
    config = AdamW(0.1, no_weight_decay=NO_WEIGHT_DECAY).get_config()
    config["undecayed"] = config.pop("no_weight_decay")
    assert AdamW.from_config(config).no_weight_decay == tuple(sorted(NO_WEIGHT_DECAY))


def test_groups_of_unknown_variables_are_refused():
    optimizer = AdamW(0.1, no_weight_decay=["norm/gamma"], learning_rate_factors={"a/kernel": 0.5})
    with pytest.raises(ValueError, match="norm/gamma"):
        optimizer.build(variables(start()))
    with pytest.raises(NotImplementedError, match="no_weight_decay"):
        AdamW(0.1).exclude_from_weight_decay(var_names=["bias"])


@pytest.mark.parametrize("name", ["AdamW", pytest.param("SGD", marks=on_all_backends)])
def test_the_weight_decay_changes_by_half_a_cosine(name):
    kind, values, reference, last, _ = CASES[name]
    optimizer = kind(0.01, 0.2, final_weight_decay=0.6, total_steps=STEPS, **values)
    found = apply(optimizer, variables(start()), gradients())
    expected = start()
    states = [(0.0, 0.0) for _ in expected]
    for step, all_gradients in enumerate(gradients()):
        decay = 0.6 - 0.4 * (1 + np.cos(np.pi * step / STEPS)) / 2
        for i, gradient in enumerate(all_gradients):
            expected[i], states[i] = reference(
                expected[i], gradient, states[i], step + 1, 0.01, decay, last
            )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert type(optimizer).from_config(optimizer.get_config()).final_weight_decay == 0.6
