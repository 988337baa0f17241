"""What the base class answers about a model: blocks, groups, tokens, attention maps, classes."""

import keras
import numpy as np
import pytest
from cait_model_cases import CAIT, DISTILLED_CAIT, PATCHCONVNET, TOKEN_PER_CLASS
from cait_reference import cait_blocks
from deit3_model_cases import DEIT3, HMLP, PARALLEL
from deit3_reference import deit3_blocks
from harness import numpy, run, weights_by_path
from model_cases import DISTILLED, PLAIN
from numpy_reference import deit_blocks
from patchconvnet_reference import patchconvnet_blocks
from resmlp_model_cases import CLASS_MLP, RESMLP
from resmlp_reference import resmlp_tokens

from keras_deit import InputError
from keras_deit.core.precision import precision
from keras_deit.layers import Block, PatchEmbedding
from keras_deit.models import Classifier, DeiT
from keras_deit.models.classifier import classification_head
from keras_deit.models.constructor import constructor_values

every_backend = pytest.mark.backends("tensorflow", "jax", "torch")


def deit(images, w):
    return deit_blocks(images, w, depth=2, num_heads=2)


def deit3(images, w):
    return deit3_blocks(images, w, depth=2, num_heads=2)


def cait(images, w):
    return cait_blocks(images, w, depth=2, class_depth=2, num_heads=2)


def resmlp(images, w):
    return resmlp_tokens(images, w, depth=2), {}


# Each returns tokens and attention maps by name of the block.
BLOCKS = {
    "DeiT": (PLAIN, deit),
    "distilled DeiT": (DISTILLED, deit),
    "DeiT III": (DEIT3, deit3),
    "parallel ViT": (PARALLEL, deit3),
    "DeiT III with hMLP": (HMLP, deit3),
    "CaiT": (CAIT, cait),
    "distilled CaiT": (DISTILLED_CAIT, cait),
    "ResMLP": (RESMLP, resmlp),
    "ResMLP with class-MLP": (CLASS_MLP, resmlp),
    "PatchConvNet": (PATCHCONVNET, lambda x, w: patchconvnet_blocks(x, w, depth=2)),
    "PatchConvNet, one token per class": (
        TOKEN_PER_CLASS,
        lambda x, w: patchconvnet_blocks(x, w, depth=2, token_per_class=True),
    ),
}
# Attention maps cast to float32 on their own in each of these.
ON_EVERY_BACKEND = ("distilled DeiT", "distilled CaiT")


def cases(names):
    return pytest.mark.parametrize(
        ("case", "reference"),
        [
            pytest.param(
                *BLOCKS[name], id=name, marks=every_backend if name in ON_EVERY_BACKEND else ()
            )
            for name in names
        ],
    )


def assert_equal_by_name(received, expected):
    assert list(received) == list(expected)
    for name, value in expected.items():
        tolerance = 1e-5 * max(np.abs(value).max(), 1)
        np.testing.assert_allclose(numpy(received[name]), value, rtol=0, atol=tolerance)


@cases(BLOCKS)
def test_token_model_returns_the_output_of_every_block(case, reference):
    model = case.build_random()
    expected, _ = reference(case.inputs(), weights_by_path(model))
    received = run(model.token_model(), case.inputs())
    assert_equal_by_name(received, expected)
    assert list(received) == [block.name for block in model.blocks]


@cases(name for name in BLOCKS if not name.startswith("ResMLP"))
def test_attention_model_returns_the_maps_of_every_block_with_attention(case, reference):
    """The blocks of PatchConvNet before the last have none."""
    model = case.build_random()
    _, expected = reference(case.inputs(), weights_by_path(model))
    assert_equal_by_name(run(model.attention_model(), case.inputs()), expected)


def test_attention_maps_are_float32_under_every_policy():
    with precision("mixed_bfloat16"):
        model = DISTILLED.build()
    assert model.blocks[0].compute_dtype == "bfloat16"
    maps = model.attention_model()(DISTILLED.inputs())
    assert {keras.backend.standardize_dtype(value.dtype) for value in maps.values()} == {"float32"}


@pytest.mark.parametrize("case", [RESMLP, CLASS_MLP])
def test_a_model_without_attention_has_no_attention_model(case):
    with pytest.raises(InputError, match=r"ResMLP .*attention_maps"):
        case.build().attention_model()


@pytest.mark.parametrize("name", BLOCKS)
def test_feature_model_returns_the_input_of_the_class_head(name):
    case, _ = BLOCKS[name]
    model = case.build_random()
    features = model.feature_model()(case.inputs())
    logits = model.head_layers["class"](features)
    np.testing.assert_array_equal(numpy(logits), numpy(model.heads(case.inputs())["class"]))


BLOCK_GROUPS = {"block_0": 1, "block_1": 2, "norm": 3, "class_head": 3}
STEM = {"patch_embedding": 0, "position_embedding": 0, "class_token": 0}
CLASS_BLOCKS = {"class_block_0": 3, "class_block_1": 4, "norm": 5, "class_head": 5}


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (PLAIN, {**STEM, **BLOCK_GROUPS}),
        (DISTILLED, {**STEM, "distillation_token": 0, **BLOCK_GROUPS, "distillation_head": 3}),
        # Tokens that come in late are as far from the heads as the patches.
        (CAIT, {**STEM, **BLOCK_GROUPS, **CLASS_BLOCKS}),
        (RESMLP, {"patch_embedding": 0, **BLOCK_GROUPS}),
        (CLASS_MLP, {"patch_embedding": 0, "class_token": 0, **BLOCK_GROUPS, **CLASS_BLOCKS}),
        (
            TOKEN_PER_CLASS,
            {
                **{"stem": 0, "class_token": 0, "block_0": 1, "block_1": 2},
                **{"class_block_0": 3, "norm": 4, "class_head": 4},
            },
        ),
    ],
    ids=["DeiT", "distilled DeiT", "CaiT", "ResMLP", "ResMLP with class-MLP", "PatchConvNet"],
)
def test_layer_groups(case, expected):
    groups = case.build().layer_groups()
    assert {layer.name: group for layer, group in groups if layer.weights} == expected


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (PLAIN, {"class_head/kernel": 1, "class_head/bias": 0}),
        (
            DISTILLED,
            {f"{head}_head/{leaf}": axis for head in ("class", "distillation")
             for leaf, axis in (("kernel", 1), ("bias", 0))},
        ),
        (
            TOKEN_PER_CLASS,
            {"class_token/token": 1, "class_head/kernel": 0, "class_head/bias": 0},
        ),
    ],
    ids=["DeiT", "distilled DeiT", "PatchConvNet, one token per class"],
)  # fmt: skip
def test_class_axes(case, expected):
    """An axis has as many entries as there are classes, in a model with another number too."""
    for num_classes in (5, 4):
        axes = case.build(num_classes=num_classes).class_axes()
        assert {variable.path: axis for variable, axis in axes} == expected
        assert {variable.shape[axis] for variable, axis in axes} == {num_classes}


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (PLAIN, {"block_0/attention", "block_1/attention"}),
        (
            CAIT,
            {f"{name}/attention" for name in
             ("block_0", "block_1", "class_block_0", "class_block_1")},
        ),
        # The authors' script trains the first branch alone.
        (PARALLEL, {"block_0/attention", "block_1/attention"}),
        (RESMLP, set()),
    ],
    ids=["DeiT", "CaiT", "parallel ViT", "ResMLP"],
)  # fmt: skip
def test_attention_variables(case, expected):
    variables = case.build().attention_variables()
    assert {"/".join(variable.path.split("/")[:2]) for variable in variables} == expected


class Stem(PatchEmbedding):
    """A user's layer."""


class Pooled(Classifier):
    """A user's architecture: an embedding and one block; no block or head is named."""

    def __init__(self, image_size=8, width=6, *, squared=False, num_classes=3, **kwargs):
        inputs = keras.Input((image_size, image_size, 3))
        x = Stem(4, width, name="stem")(inputs)
        x = PooledBlock(squared, name="only")(x)
        logits = classification_head(num_classes, "head")(keras.ops.mean(x, axis=1))
        super().__init__(inputs, {"class": logits}, **kwargs)


class PooledBlock(Block):
    def __init__(self, squared, **kwargs):
        super().__init__(**kwargs)
        self.squared = squared

    def call(self, x):
        return x * x if self.squared else x


def test_a_users_architecture_answers_from_its_layers():
    model = Pooled(16, squared=True)
    assert [block.name for block in model.blocks] == ["only"]
    assert model.num_classes == 3
    assert model.position_tables() == model.no_weight_decay() == model.model_parallel_axes() == []
    groups = {layer.name: group for layer, group in model.layer_groups() if layer.weights}
    assert groups == {"stem": 0, "head": 2}
    assert model.weight_names() == {} and Pooled.describe_weights(["head.weight"]) is None
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    tokens = numpy(model.get_layer("stem")(images))
    received = model.token_model()(images)
    np.testing.assert_allclose(numpy(received["only"]), tokens**2, rtol=1e-6)
    with pytest.raises(InputError, match=r"Pooled .*attention_maps"):
        model.attention_model()


def test_configuration_is_the_constructor_arguments():
    """Positional ones, keyword-only ones and defaults; a subclass adds its own."""

    class Wider(Pooled):
        def __init__(self, factor=2, **kwargs):
            super().__init__(width=6 * factor, **kwargs)

    common = {"name": "mine", "trainable": True, "dtype": "float32"}
    values = {"image_size": 16, "width": 6, "squared": True, "num_classes": 3}
    assert Pooled(16, squared=True, name="mine").get_config() == {**values, **common}
    wider = Wider(3, image_size=16, name="mine")
    assert wider.get_config() == {"factor": 3, "image_size": 16, **common}
    assert Wider.from_config(wider.get_config()).get_layer("stem").embed_dim == 18
    assert constructor_values(Wider) == {
        **{"factor": 2, "image_size": 8, "width": 6, "squared": False, "num_classes": 3}
    }


def test_heads_share_the_weights_and_are_not_saved_as_layers():
    model = DISTILLED.build()
    heads = model.heads
    assert {id(weight) for weight in heads.weights} == {id(weight) for weight in model.weights}
    assert "heads" not in dir(model)


def test_a_subclass_keeps_the_constructor_signature():
    """Keras looks at it to find out whether a model is functional."""
    assert constructor_values(DeiT)["patch_size"] == 16
