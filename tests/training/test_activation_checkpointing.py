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
from keras_deit.core.precision import precision
from keras_deit.core.random_state import read_random_state
from keras_deit.layers import Block, TransformerBlock
from keras_deit.training.activation_checkpointing import enable_activation_checkpointing

BACKEND = keras.backend.backend()
# Stochastic depth drops half of the branches.
SMALL = {"embed_dim": 24, "depth": 2, "num_classes": 4, "drop_path_rate": 0.5}
PATCHES = {**SMALL, "image_size": 16, "patch_size": 4}
DEIT = "deit_tiny_distilled_patch16_224"
MODELS = {
    DEIT: {**PATCHES, "num_heads": 3, "dropout_rate": 0.3},
    "deit_small_patch16_18x2_LS": {**PATCHES, "num_heads": 3},
    "cait_xxs24_224": {**PATCHES, "num_heads": 3},
    "sl_cait_patch4_32": {**PATCHES, "num_heads": 3},
    "sl_t2t_32": {**SMALL, "image_size": 16, "token_dim": 8, "num_heads": 3, "dropout_rate": 0.3},
    "resmlp_12_224": PATCHES,
    "patchconvnet_s60_224": {**SMALL, "image_size": 32},
    "regnety_040": {
        **{"image_size": 16, "widths": (24,), "depth": (2,), "group_width": 8},
        **{"num_classes": 4, "drop_path_rate": 0.5},
    },
    "sl_swin_patch2_32": {
        **{**PATCHES, "patch_size": 2, "depth": (2, 1), "num_heads": (3, 6)},
        "attention_dropout_rate": 0.3,
    },
    "binary_vit_small_patch4_224": {
        **{**PATCHES, "patch_size": 2, "depth": (1, 1), "num_heads": 3, "mlp_ratio": 2},
        **{"reduction": (2, 1), "attention_dropout_rate": 0.3},
    },
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


def loss_of(model, x):
    return ops.sum(ops.square(model(x, training=True))) + sum(model.losses)


def jax_loss(model, x):
    """Returns the loss as a function of the trainable variables, and those."""

    def loss(trainable):
        outputs, state, losses = model.stateless_call(
            trainable, frozen, x, training=True, return_losses=True
        )
        return ops.sum(ops.square(outputs)) + sum(losses), state

    frozen = [variable.value for variable in model.non_trainable_variables]
    return loss, [variable.value for variable in model.trainable_variables]


def gradients(model, jit=False) -> list[np.ndarray]:
    """Returns the gradients of a loss in training."""
    compute = {"jax": on_jax, "tensorflow": on_tensorflow, "torch": on_torch}[BACKEND]
    return [numpy(gradient) for gradient in compute(model, images(model), jit)]


def states(model) -> list[np.ndarray]:
    """Returns the state of a model's layers and Keras's global generator."""
    values = [numpy(variable.value) for variable in model.non_trainable_variables]
    return [*values, read_random_state()["random keras"]]


def on_jax(model, x, jit):
    import jax

    loss, trainable = jax_loss(model, x)
    found, state = jax.jit(jax.grad(loss, has_aux=True))(trainable)
    for variable, value in zip(model.non_trainable_variables, state, strict=True):
        variable.assign(value)
    return found


def on_tensorflow(model, x, jit):
    import tensorflow as tf

    @tf.function(jit_compile=jit)
    def compute(x):
        with tf.GradientTape() as tape:
            loss = loss_of(model, x)
        return tape.gradient(loss, [v.value for v in model.trainable_variables])

    return compute(x)


def on_torch(model, x, jit):
    loss_of(model, x).backward()
    return [variable.value.grad for variable in model.trainable_variables]


def saved_bytes(model) -> int:
    """Returns the bytes that JAX or PyTorch saves for the backward pass."""
    return {"jax": saved_on_jax, "torch": saved_on_torch}[BACKEND](model, images(model))


def saved_on_jax(model, x):
    import jax

    report = io.StringIO()
    with contextlib.redirect_stdout(report):
        loss, trainable = jax_loss(model, x)
        jax.ad_checkpoint.print_saved_residuals(lambda values: loss(values)[0], trainable)
    saved = re.findall(r"^\w?f32\[([\d,]*)\] (?!from)", report.getvalue(), flags=re.MULTILINE)
    return 4 * sum(math.prod(int(side) for side in shape.split(",") if side) for shape in saved)


def saved_on_torch(model, x):
    import torch

    saved = []

    def save(tensor):
        saved.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        loss_of(model, x)
    return sum(saved)


def case(name):
    """The blocks of all architectures recompute alike, so that PyTorch alone has all of them."""
    everywhere = name in (DEIT, "patchconvnet_s60_224")
    return name if everywhere else pytest.param(name, marks=pytest.mark.backends("torch"))


def assert_same(plain, checkpointed, tolerance=1e-6):
    """Relative to the largest gradient, because some are 0 but for rounding errors."""
    largest = max(np.abs(one).max() for one in plain)
    for one, other in zip(plain, checkpointed, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize("name", [case(name) for name in MODELS])
def test_gradients_are_the_same(name):
    """Also with dropout and stochastic depth: the second computation drops what the first did."""
    plain, checkpointed = (
        gradients(build(name, MODELS[name], checkpointed)) for checkpointed in (False, True)
    )
    assert_same(plain, checkpointed)
    assert sum(np.abs(one).max() > 0 for one in plain) > 0.8 * len(plain)


class OwnNoise(keras.layers.Layer):
    """Multiplies by random numbers; with a seed of Keras's own where the backend allows it."""

    def __init__(self):
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(3)

    def call(self, x, training=False):
        if not training:
            return x
        self.add_loss(1e-2 * ops.mean(ops.square(x)))
        x = x * keras.random.uniform(ops.shape(x), seed=self.seed_generator, dtype=x.dtype)
        return x if BACKEND == "jax" else x + keras.random.normal(ops.shape(x), dtype=x.dtype)


class Everything(Block):
    """A block of Keras's random layers, of one's own, and of a variable that is read directly."""

    supports_activation_checkpointing = True

    def build(self, input_shape):
        self.matrix = self.add_weight(shape=(input_shape[-1],) * 2, name="matrix")
        self.attention = keras.layers.MultiHeadAttention(2, 4, dropout=0.3, seed=1)
        self.attention.build(input_shape, input_shape)
        self.others = [
            keras.layers.BatchNormalization(),
            keras.layers.SpatialDropout1D(0.3, seed=2),
            keras.layers.GaussianNoise(0.5),
            keras.layers.GaussianDropout(0.3),
            keras.layers.Dropout(0.3),
            OwnNoise(),
        ]
        for layer in self.others:
            layer.build(input_shape)

    def call(self, tokens, training=False):
        return self.checkpointed(self._forward, tokens, training)

    def _forward(self, tokens):
        y = tokens + self.attention(tokens, tokens)
        for layer in self.others:
            y = layer(y)
        return tokens + ops.matmul(y, self.matrix)


@pytest.mark.parametrize(
    ("policy", "jit"),
    [
        ("float32", False),
        pytest.param("mixed_bfloat16", False, marks=pytest.mark.backends("torch")),
        pytest.param("float32", True, marks=pytest.mark.backends("tensorflow")),
    ],
)
def test_every_random_layer_repeats(policy, jit):
    """So do the batch statistics, losses of layers, and the generators of all of them after it."""

    def compute(checkpointed):
        keras.utils.set_random_seed(0)
        with precision(policy):
            inputs = keras.Input((6, 8))
            x = inputs
            for _ in range(2):
                block = Everything()
                block.activation_checkpointing = checkpointed
                x = block(x)
            model = keras.Model(inputs, x)
        before = states(model)
        found = gradients(model, jit)
        return found, before, states(model)

    (plain, before, after), (checkpointed, _, after_checkpointed) = compute(False), compute(True)
    assert_same(plain, checkpointed)
    for one, other in zip(after, after_checkpointed, strict=True):
        assert_same([one.astype("float64")], [other.astype("float64")])
    # All of it is in the loss, and seven layers in each block have used a state of theirs.
    assert all(np.abs(one).max() > 0 for one in plain)
    assert sum(np.any(one != other) for one, other in zip(before, after, strict=True)) >= 2 * 7


@pytest.mark.backends("tensorflow", "torch")
def test_what_draws_by_other_means_is_refused():
    class Drawing(TransformerBlock):
        def _forward(self, tokens):
            return super()._forward(tokens) * np.float32(np.random.uniform())

    model = create_model(DEIT, **MODELS[DEIT])
    block = model.blocks[0]
    block.__class__ = Drawing
    before = read_random_state()
    with pytest.raises(InputError, match=r"Drawing .*a second time.*keras\.random"):
        enable_activation_checkpointing(model)
    block.__class__ = TransformerBlock
    enable_activation_checkpointing(model)
    for name, state in read_random_state().items():
        np.testing.assert_array_equal(state, before[name], name)


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
