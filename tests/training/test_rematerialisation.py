"""Block blocks: the same gradients from less memory."""

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
from keras_deit.training.activation_checkpointing import activation_checkpointing

BACKEND = keras.backend.backend()
# Half of the branches are dropped.
SMALL = {"embed_dim": 24, "depth": 2, "num_classes": 4, "drop_path_rate": 0.5}
PATCHES = {**SMALL, "image_size": 16, "patch_size": 4}
MODELS = {
    "deit_tiny_distilled_patch16_224": {**PATCHES, "num_heads": 3},
    "deit_small_patch16_18x2_LS": {**PATCHES, "num_heads": 3},
    "cait_xxs24_224": {**PATCHES, "num_heads": 3},
    "resmlp_12_224": PATCHES,
    "patchconvnet_s60_224": {**SMALL, "image_size": 32},
}


def build(name, values, sparing):
    keras.utils.set_random_seed(0)
    model = create_model(name, **values)
    randomize(model)
    if sparing:
        activation_checkpointing(model)
    return model


def images(model):
    shape = (16, *model.input_shape[1:])
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def gradients(model):
    """Of the squared logits in training, and the bytes that are kept for them, where told."""
    how = {"jax": on_jax, "tensorflow": on_tensorflow, "torch": on_torch}
    found, kept = how[BACKEND](model, images(model))
    return [numpy(gradient) for gradient in found], kept


def on_jax(model, x):
    import jax

    def loss(trainable):
        outputs, _ = model.stateless_call(trainable, frozen, x, training=True)
        return ops.sum(ops.square(outputs))

    trainable = [variable.value for variable in model.trainable_variables]
    frozen = [variable.value for variable in model.non_trainable_variables]
    report = io.StringIO()
    with contextlib.redirect_stdout(report):
        jax.ad_checkpoint.print_saved_residuals(loss, trainable)
    kept = re.findall(r"^\w?f32\[([\d,]*)\] (?!from)", report.getvalue(), flags=re.MULTILINE)
    floats = sum(math.prod(int(side) for side in shape.split(",") if side) for shape in kept)
    return jax.jit(jax.grad(loss))(trainable), 4 * floats


def on_tensorflow(model, x):
    import tensorflow as tf

    @tf.function
    def of(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(model(x, training=True)))
        return tape.gradient(loss, [v.value for v in model.trainable_variables])

    return of(x), None


def on_torch(model, x):
    import torch

    kept = []

    def keep(tensor):
        kept.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = ops.sum(ops.square(model(x, training=True)))
    kept_in_all = sum(kept)
    loss.backward()
    return [variable.value.grad for variable in model.trainable_variables], kept_in_all


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_the_same(name):
    """Also with stochastic depth: the second computation drops what the first dropped."""
    plain, _ = gradients(build(name, MODELS[name], sparing=False))
    sparing, _ = gradients(build(name, MODELS[name], sparing=True))
    for one, other in zip(plain, sparing, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6 * max(1, np.abs(one).max()))
    assert sum(np.abs(one).max() > 0 for one in plain) > 0.8 * len(plain)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow does not tell")
def test_less_memory_is_needed():
    values = {**PATCHES, "num_heads": 3, "image_size": 32, "depth": 6}
    plain, sparing = (
        gradients(build("deit_tiny_distilled_patch16_224", values, sparing))[1]
        for sparing in (False, True)
    )
    assert 0 < sparing < 0.2 * plain


def test_inference_is_the_same():
    name = "deit_tiny_distilled_patch16_224"
    outputs = [
        numpy(model(images(model)))
        for model in (build(name, MODELS[name], sparing) for sparing in (False, True))
    ]
    np.testing.assert_array_equal(*outputs)


def test_a_model_without_blocks_is_refused():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="small")
    with pytest.raises(InputError, match=r"a model of blocks\. Received: small"):
        activation_checkpointing(model)
