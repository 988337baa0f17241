"""Attention-only and head-only training: what moves, what does not, and what it counts."""

import keras
import numpy as np
import pytest
from harness import numpy

from keras_deit import Distiller, InputError
from keras_deit.models import DeiT
from keras_deit.models.registry import abstract_model
from keras_deit.optimizers import Optimization, build_optimizer, select_trainable

ATTENTION = {
    f"block_{block}/attention/{layer}/{name}"
    for block in range(2)
    for layer in ("qkv", "projection")
    for name in ("kernel", "bias")
}
CHOICES = {
    "attention": ATTENTION
    | {"class_head/kernel", "class_head/bias", "position_embedding/positions"},
    "head": {
        f"{head}_head/{name}" for head in ("class", "distillation") for name in ("kernel", "bias")
    },
}


def small_deit():
    return DeiT(
        image_size=8,
        patch_size=4,
        embed_dim=8,
        depth=2,
        num_heads=2,
        distilled=True,
        num_classes=3,
    )


@pytest.mark.parametrize("which", CHOICES)
def test_only_the_chosen_weights_move_and_only_they_have_state(which):
    model = small_deit()
    everything = {variable.path for variable in model.trainable_variables}
    select_trainable(model, which)
    assert {variable.path for variable in model.trainable_variables} == CHOICES[which]
    before = {variable.path: numpy(variable) for variable in model.weights}
    distiller = Distiller(model, kind="none")
    optimizer = build_optimizer(model, Optimization(learning_rate=1.0, warmup_epochs=0), 4)
    distiller.compile(optimizer)
    images = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype("float32")
    distiller.fit(images, np.arange(8) % 3, batch_size=4, epochs=2, verbose=0)
    moved = {v.path for v in model.weights if not np.array_equal(numpy(v), before[v.path])}
    assert moved == CHOICES[which]
    # The step, two counts of steps that were not taken, and two moments of each.
    assert len(optimizer.variables) == 3 + 2 * len(CHOICES[which])
    select_trainable(model, "all")
    assert {variable.path for variable in model.trainable_variables} == everything


def count(model):
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def test_what_is_trained_of_deit_tiny():
    """Attention: twelve times 4·D² + 4·D; 1,000 classes; 197 positions."""
    model = abstract_model("deit_tiny_patch16_224")
    select_trainable(model, "attention")
    assert count(model) == 12 * (4 * 192**2 + 4 * 192) + 193_000 + 197 * 192
    select_trainable(model, "head")
    assert count(model) == 193_000
    select_trainable(model, "all")
    assert count(model) == 5_717_416


class _Parallel(keras.layers.Layer):
    """Names as in a block with two branches, which have talking heads."""

    def build(self, input_shape):
        self.branches = [
            keras.Sequential([keras.layers.Dense(4, name="talking")], name=name)
            for name in ("attention", "attention_b")
        ]
        for branch in self.branches:
            branch.build(input_shape)

    def call(self, x):
        return sum(branch(x) for branch in self.branches)


def test_the_second_parallel_branch_stays_frozen_and_batch_statistics_are_none_of_it():
    images = keras.Input((4,))
    x = keras.layers.BatchNormalization(name="stem")(_Parallel(name="block_0")(images))
    model = keras.Model(images, keras.layers.Dense(2, name="class_head")(x))
    select_trainable(model, "attention")
    first, *rest = sorted({v.path for v in model.trainable_variables})
    assert first == "block_0/attention/talking/bias"
    assert rest == ["block_0/attention/talking/kernel", "class_head/bias", "class_head/kernel"]
    select_trainable(model, "all")
    frozen = [variable.name for variable in model.non_trainable_variables]
    assert frozen == ["moving_mean", "moving_variance"]


def test_what_cannot_be_chosen_is_refused():
    images = keras.Input((4,))
    model = keras.Model(images, keras.layers.Dense(2, name="class_head")(images), name="mlp")
    with pytest.raises(InputError, match=r"needs attention layers\. Received: mlp"):
        select_trainable(model, "attention")
    assert len(model.trainable_variables) == 2
    with pytest.raises(InputError, match=r"Unknown choice of trainable weights 'heads'\. .* head"):
        select_trainable(model, "heads")
