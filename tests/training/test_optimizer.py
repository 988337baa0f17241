"""The schedule against its formula, and what decays."""

import keras
import numpy as np
import pytest
from harness import numpy

from keras_deit.layers import TransformerBlock
from keras_deit.models import DeiT
from keras_deit.recipes import Optimisation
from keras_deit.training.optimisation import (
    build_optimizer,
    learning_rate_schedule,
    undecayed_variables,
)

# 10 epochs of 7 steps, 3 of them to warm up; a batch of 256 halves the learning rate.
OPTIMISATION = Optimisation(
    epochs=10,
    batch_size=256,
    learning_rate=2e-3,
    warmup_epochs=3,
    warmup_learning_rate=1e-6,
    min_learning_rate=1e-5,
)
PEAK = 1e-3


def formula(step, warmup, total, start=1e-6, peak=PEAK, end=1e-5):
    if step < warmup:
        return start + (peak - start) * step / warmup
    progress = min((step - warmup) / max(total - warmup, 1), 1)
    return end + (peak - end) * (1 + np.cos(np.pi * progress)) / 2


@pytest.mark.parametrize(
    ("changes", "warmup", "total", "values"),
    [
        ({}, 21, 70, {}),
        ({"warmup_epochs": 0}, 0, 70, {}),
        ({"warmup_epochs": 0.5}, 4, 70, {}),
        ({"warmup_epochs": 10}, 70, 70, {}),
        ({"min_learning_rate": PEAK}, 21, 70, {"end": PEAK}),
        ({"min_learning_rate": 2 * PEAK}, 21, 70, {"end": 2 * PEAK}),
    ],
    ids=str,
)
def test_schedule_is_its_formula_at_every_step(changes, warmup, total, values):
    optimisation = Optimisation(**{**vars(OPTIMISATION), **changes})
    schedule = learning_rate_schedule(optimisation, steps_per_epoch=7)
    steps = range(total + 5)
    expected = [formula(step, warmup, total, **values) for step in steps]
    rates = [float(schedule(step)) for step in steps]
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-9)


def distilled_deit(qkv_bias=True):
    return DeiT(
        image_size=8,
        patch_size=4,
        embed_dim=8,
        depth=1,
        num_heads=2,
        qkv_bias=qkv_bias,
        distilled=True,
        num_classes=3,
    )


DECAYED = {
    "patch_embedding/projection/kernel",
    "distillation_token/token",
    "block_0/attention/qkv/kernel",
    "block_0/attention/projection/kernel",
    "block_0/mlp/expand/kernel",
    "block_0/mlp/contract/kernel",
    "class_head/kernel",
    "distillation_head/kernel",
}


def test_kernels_and_the_distillation_token_decay():
    model = distilled_deit()
    spared = {variable.path for variable in undecayed_variables(model)}
    assert {variable.path for variable in model.trainable_variables} - spared == DECAYED
    assert {"class_token/token", "position_embedding/positions"} < spared


def test_layer_scale_and_every_bias_are_spared_in_any_model():
    tokens = keras.Input((4, 8))
    block = TransformerBlock(num_heads=2, layer_scale_init=0.1, name="block")(tokens)
    outputs = keras.layers.MultiHeadAttention(2, 4, name="keras")(block, block)
    model = keras.Model(tokens, outputs)
    spared = {variable.path for variable in undecayed_variables(model)}
    # Of rank 2, but a bias.
    assert "keras/query/bias" in spared
    assert {"block/layer_scale1/gamma", "block/norm1/beta", "block/attention/qkv/bias"} < spared
    decayed = {variable.path for variable in model.trainable_variables} - spared
    assert all(path.endswith("kernel") for path in decayed)
    assert len(decayed) == 8


@pytest.mark.parametrize("steps", [1, 3])
def test_without_gradient_decayed_variables_shrink_and_the_others_stay(steps):
    """By 1 - lr·wd in each step, and nothing else."""
    model = distilled_deit()
    optimisation = Optimisation(
        epochs=10, batch_size=512, learning_rate=0.5, warmup_epochs=2, weight_decay=0.2
    )
    optimizer = build_optimizer(model, optimisation, steps_per_epoch=2)
    variables = model.trainable_variables
    before = [numpy(variable).astype("float64") for variable in variables]
    factor = 1.0
    for step in range(steps):
        optimizer.apply([keras.ops.zeros(v.shape) for v in variables], variables)
        factor *= 1 - 0.2 * formula(step, warmup=4, total=20, peak=0.5)
    assert factor < (1 if steps == 1 else 0.95)
    for variable, values in zip(variables, before, strict=True):
        if variable.path in DECAYED:
            np.testing.assert_allclose(numpy(variable), factor * values, rtol=1e-6)
        else:
            np.testing.assert_array_equal(numpy(variable), values, err_msg=variable.path)


def test_a_step_is_adamw_with_the_recipes_rate_and_epsilon():
    """After the first step m̂ = g and v = (1 − β₂)·g²; Keras adds ε to √v before it corrects v."""
    model = distilled_deit()
    values = {"epochs": 1, "batch_size": 512, "learning_rate": 0.01, "warmup_epochs": 0}
    optimisation = Optimisation(**values, weight_decay=0.0, adam_epsilon=1e-2)
    optimizer = build_optimizer(model, optimisation, steps_per_epoch=4)
    rng = np.random.default_rng(0)
    variables = model.trainable_variables
    gradients = [rng.normal(0, 0.1, v.shape) for v in variables]
    before = [numpy(variable).astype("float64") for variable in variables]
    optimizer.apply([keras.ops.cast(g, "float32") for g in gradients], variables)
    root = np.sqrt(1 - 0.999)
    for variable, start, g in zip(variables, before, gradients, strict=True):
        expected = start - 0.01 * root * g / (root * np.abs(g) + 1e-2)
        np.testing.assert_allclose(numpy(variable), expected, rtol=1e-5, atol=1e-6)
