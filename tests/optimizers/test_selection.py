"""Training of the attention layers or of the heads alone: which weights change, and their count."""

import keras
import numpy as np
import pytest
from harness import numpy

from keras_deit import Distiller, InputError, layers
from keras_deit.models import Classifier, DeiT, abstract_model
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


@pytest.mark.parametrize(
    "which",
    [
        pytest.param("attention", marks=pytest.mark.backends("tensorflow", "jax", "torch")),
        pytest.param("head", marks=pytest.mark.slow),
    ],
)
def test_only_the_chosen_weights_are_trained_and_have_slots(which):
    model = small_deit()
    everything = {variable.path for variable in model.trainable_variables}
    select_trainable(model, which)
    assert {variable.path for variable in model.trainable_variables} == CHOICES[which]
    before = {variable.path: numpy(variable) for variable in model.weights}
    distiller = Distiller(model, kind="none")
    optimizer = build_optimizer(model, Optimization(learning_rate=1.0, warmup_epochs=0), 4)
    distiller.compile(optimizer, jit_compile=keras.backend.backend() == "jax")
    images = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype("float32")
    distiller.fit(images, np.arange(8) % 3, batch_size=4, epochs=2, verbose=0)
    changed = {v.path for v in model.weights if not np.array_equal(numpy(v), before[v.path])}
    assert changed == CHOICES[which]
    # The number of steps, two counts of skipped steps, and two moments of each.
    assert len(optimizer.variables) == 3 + 2 * len(CHOICES[which])
    select_trainable(model, "all")
    assert {variable.path for variable in model.trainable_variables} == everything


def count(model):
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def test_parameters_that_are_trained_of_deit_tiny():
    """The attention layers have twelve times 4·D² + 4·D; there are 1,000 classes, 197 positions."""
    model = abstract_model("deit_tiny_patch16_224")
    select_trainable(model, "attention")
    assert count(model) == 12 * (4 * 192**2 + 4 * 192) + 193_000 + 197 * 192
    select_trainable(model, "head")
    assert count(model) == 193_000
    select_trainable(model, "all")
    assert count(model) == 5_717_416


@pytest.mark.parametrize(
    "name",
    [
        "deit_tiny_distilled_patch16_224",
        "deit_small_patch16_18x2_LS",
        "cait_xxs24_224",
        "patchconvnet_s20_224",
        "sl_vit_patch4_32",
        "sl_cait_patch4_32",
        "vit_tiny_r_s16_p8_224",
        "sl_swin_patch2_32",
        "sl_pit_patch2_32",
        "sl_t2t_32",
        "binary_vit_small_patch4_224",
    ],
)
def test_attention_of_each_family_is_what_its_names_say(name):
    """The second branch of a parallel block (`attention_b`) and batch statistics are not in it."""
    model = abstract_model(name)
    paths = [variable.path.split("/") for variable in model.trainable_variables]
    statistics = [v.path for v in model.non_trainable_variables]
    select_trainable(model, "attention")
    expected = {
        "/".join(path)
        for path in paths
        if "attention" in path or path[0].startswith(("class_head", "position_embedding"))
    }
    assert {variable.path for variable in model.trainable_variables} == expected
    select_trainable(model, "all")
    assert [variable.path for variable in model.non_trainable_variables] == statistics


def test_what_cannot_be_chosen_is_refused():
    model = abstract_model("resmlp_12_224", image_size=32, embed_dim=8, depth=1)
    everything = len(model.trainable_variables)
    with pytest.raises(InputError, match=r"attention_probabilities.*resmlp"):
        select_trainable(model, "attention")
    assert len(model.trainable_variables) == everything
    with pytest.raises(InputError, match=r"'heads'.* head"):
        select_trainable(model, "heads")


@pytest.mark.parametrize("which", ["attention", "head"])
def test_a_plain_keras_model_has_no_roles_to_choose(which):
    images = keras.Input((4,))
    model = keras.Model(images, keras.layers.Dense(3)(images), name="plain")
    model.trainable = False
    with pytest.raises(InputError, match=rf"{which}.*Classifier.*plain"):
        select_trainable(model, which)
    assert not model.trainable


def test_kernels_over_the_patches_are_not_positions():
    """In a model that has both, they are trained with all weights only."""
    inputs = keras.Input((8, 8, 3))
    x = layers.PatchEmbedding(4, 8, name="patch_embedding")(inputs)
    x = layers.PositionEmbedding((2, 2), name="positions")(x)
    x = layers.TransformerBlock(2, name="block_0")(x)
    x = layers.ResMLPBlock(0.1, name="block_1")(x)
    logits = keras.layers.Dense(3, name="head")(x[:, 0])
    model = Classifier(inputs, {"class": logits})
    select_trainable(model, "attention")
    trained = {variable.path.split("/")[0] for variable in model.trainable_variables}
    assert trained == {"positions", "block_0", "head"}
