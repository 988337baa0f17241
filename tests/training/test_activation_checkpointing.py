"""Activation checkpointing gives the same gradients from less memory."""

import contextlib
import io
import math
import re

import keras
import numpy as np
import pytest
from harness import numpy, randomize
from keras import ops

from keras_deit import InputError, create_model
from keras_deit.training.activation_checkpointing import enable_activation_checkpointing

BACKEND = keras.backend.backend()
# Stochastic depth drops half of the branches.
SMALL = {"embed_dim": 24, "depth": 2, "num_classes": 4, "drop_path_rate": 0.5}
PATCHES = {**SMALL, "image_size": 16, "patch_size": 4}
DEIT = "deit_tiny_distilled_patch16_224"
MODELS = {
    DEIT: {**PATCHES, "num_heads": 3},
    "deit_small_patch16_18x2_LS": {**PATCHES, "num_heads": 3},
    "cait_xxs24_224": {**PATCHES, "num_heads": 3},
    "resmlp_12_224": PATCHES,
    "patchconvnet_s60_224": {**SMALL, "image_size": 32},
}

pytestmark = pytest.mark.backends("tensorflow", "jax", "torch")


def build(name, values, checkpointed):
    keras.utils.set_random_seed(0)
    model = create_model(name, **values)
    randomize(model)
    if checkpointed:
        enable_activation_checkpointing(model)
    return model


def images(model):
    shape = (16, *model.input_shape[1:])
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def squared_logits(model, x):
    return ops.sum(ops.square(model(x, training=True)))


def jax_loss(model, x):
    """Returns the squared logits as a function of the trainable variables, and those."""

    def loss(trainable):
        outputs, _ = model.stateless_call(trainable, frozen, x, training=True)
        return ops.sum(ops.square(outputs))

    frozen = [variable.value for variable in model.non_trainable_variables]
    return loss, [variable.value for variable in model.trainable_variables]


def gradients(model) -> list[np.ndarray]:
    """Returns the gradients of the squared logits in training."""
    compute = {"jax": on_jax, "tensorflow": on_tensorflow, "torch": on_torch}[BACKEND]
    return [numpy(gradient) for gradient in compute(model, images(model))]


def on_jax(model, x):
    import jax

    loss, trainable = jax_loss(model, x)
    return jax.jit(jax.grad(loss))(trainable)


def on_tensorflow(model, x):
    import tensorflow as tf

    @tf.function
    def compute(x):
        with tf.GradientTape() as tape:
            loss = squared_logits(model, x)
        return tape.gradient(loss, [v.value for v in model.trainable_variables])

    return compute(x)


def on_torch(model, x):
    squared_logits(model, x).backward()
    return [variable.value.grad for variable in model.trainable_variables]


def saved_bytes(model) -> int:
    """Returns the bytes that JAX or PyTorch saves for the backward pass."""
    return {"jax": saved_on_jax, "torch": saved_on_torch}[BACKEND](model, images(model))


def saved_on_jax(model, x):
    import jax

    report = io.StringIO()
    with contextlib.redirect_stdout(report):
        jax.ad_checkpoint.print_saved_residuals(*jax_loss(model, x))
    saved = re.findall(r"^\w?f32\[([\d,]*)\] (?!from)", report.getvalue(), flags=re.MULTILINE)
    return 4 * sum(math.prod(int(side) for side in shape.split(",") if side) for shape in saved)


def saved_on_torch(model, x):
    import torch

    saved = []

    def save(tensor):
        saved.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        squared_logits(model, x)
    return sum(saved)


def case(name):
    """The blocks of all architectures recompute alike, so that PyTorch alone has all of them."""
    everywhere = name in (DEIT, "patchconvnet_s60_224")
    return name if everywhere else pytest.param(name, marks=pytest.mark.backends("torch"))


@pytest.mark.parametrize("name", [case(name) for name in MODELS])
def test_gradients_are_the_same(name):
    """Also with stochastic depth: the second computation drops what the first dropped."""
    plain, checkpointed = (
        gradients(build(name, MODELS[name], checkpointed)) for checkpointed in (False, True)
    )
    for one, other in zip(plain, checkpointed, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6 * max(1, np.abs(one).max()))
    assert sum(np.abs(one).max() > 0 for one in plain) > 0.8 * len(plain)


@pytest.mark.backends("jax", "torch")
def test_less_memory_is_needed():
    values = {**MODELS[DEIT], "image_size": 32, "depth": 6}
    plain, checkpointed = (
        saved_bytes(build(DEIT, values, checkpointed)) for checkpointed in (False, True)
    )
    assert 0 < checkpointed < 0.2 * plain


def test_inference_is_the_same():
    outputs = [
        numpy(model(images(model)))
        for model in (build(DEIT, MODELS[DEIT], checkpointed) for checkpointed in (False, True))
    ]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.backends("tensorflow")
def test_a_model_without_blocks_is_refused():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="small")
    with pytest.raises(InputError, match=r"blocks.*small"):
        enable_activation_checkpointing(model)
