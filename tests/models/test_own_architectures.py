"""What the base class answers about architectures that are unlike those of the package.

What it cannot know is an error that says what the model or the layer should answer.
"""

import keras
import numpy as np
import pytest
from harness import numpy

from keras_deit import InputError, create_model
from keras_deit.layers import (
    Block,
    PatchEmbedding,
    PositionEmbedding,
    PrependToken,
    TransformerBlock,
)
from keras_deit.models import Classifier, register_model, registry
from keras_deit.models.arguments import check_positive, check_ratio
from keras_deit.models.classifier import classification_head
from keras_deit.optimizers import learning_rate_factors, select_trainable
from keras_deit.pretrained.conversion import change_model, model_from, save_model
from keras_deit.training.activation_checkpointing import enable_activation_checkpointing


def image():
    return keras.Input((8, 8, 3), name="image")


def patches(name="stem"):
    return PatchEmbedding(4, 8, name=name)


def block(name, **kwargs):
    return TransformerBlock(num_heads=2, name=name, **kwargs)


def pooled(tokens, name="class_head", **kwargs):
    mean = keras.layers.GlobalAveragePooling1D(name=f"{name}_mean")(tokens)
    return keras.layers.Dense(3, name=name, **kwargs)(mean)


def classifier(build):
    """Returns a classifier of the tokens that a function computes from the images."""
    inputs = image()
    return Classifier(inputs, {"class": pooled(build(inputs))}, name="own")


def groups(model):
    return {layer.name: group for layer, group in model.layer_groups() if layer.weights}


class LateToken(keras.layers.Layer):
    """A class token of a user, which comes in after some blocks."""

    def build(self, input_shape):
        self.token = self.add_weight(shape=(1, 1, input_shape[-1]), name="token")

    def call(self, tokens):
        return keras.ops.concatenate([self.token + 0 * tokens[:, :1], tokens], axis=1)

    def layer_group(self, blocks_before):
        assert blocks_before == 1
        return 0


def test_positions_and_tokens_between_blocks():
    """Positions of a later stage, as in PVT, are as far from the heads as its first block."""

    def build(images):
        x = PositionEmbedding(name="positions_0")(patches()(images))
        x = block("block_0")(x)
        x = keras.layers.Dense(8, name="merging")(x)
        x = PositionEmbedding(name="positions_1")(x)
        x = PrependToken(name="token")(LateToken(name="own_token")(x))
        return keras.layers.LayerNormalization(name="norm")(block("block_1")(x))

    assert groups(classifier(build)) == {
        **{"stem": 0, "positions_0": 0, "token": 0, "own_token": 0},
        **{"block_0": 1, "merging": 2, "positions_1": 2, "block_1": 2},
        **{"norm": 3, "class_head": 3},
    }


class TwoBranches(Classifier):
    """Three blocks, and beside them one block with a stem and a head of its own."""

    def __init__(self):
        inputs = image()
        x = patches("stem_a")(inputs)
        for index in range(3):
            x = block(f"a_{index}")(x)
        y = block("b_0")(patches("stem_b")(inputs))
        heads = {"class": pooled(x + y), "distillation": pooled(y, "distillation_head")}
        super().__init__(inputs, heads)


def test_blocks_of_the_longest_path_count():
    assert groups(TwoBranches()) == {
        **{"stem_a": 0, "stem_b": 0, "a_0": 1, "b_0": 1, "a_1": 2, "a_2": 3},
        **{"class_head": 4, "distillation_head": 4},
    }


def test_a_block_that_is_called_twice():
    shared = block("shared")

    def build(images):
        return shared(block("block_0")(shared(patches()(images))))

    assert groups(classifier(build)) == {"stem": 0, "shared": 1, "block_0": 2, "class_head": 4}


class Stage(keras.layers.Layer):
    """A stage of two blocks, as in Swin."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = [block(f"block_{index}") for index in range(2)]

    def build(self, input_shape):
        for inner in self.inner:
            inner.build(input_shape)

    def call(self, tokens):
        for inner in self.inner:
            tokens = inner(tokens)
        return tokens


def staged(stage):
    return classifier(lambda images: block("first")(stage(patches()(images))))


@pytest.mark.parametrize(
    "stage",
    [
        Stage(name="stage"),
        keras.Sequential([keras.layers.Identity(), block("block_0")], name="stage"),
        keras.Sequential([keras.Sequential([block("block_0")])], name="stage"),
    ],
    ids=["layer", "Sequential", "nested"],
)
def test_blocks_inside_of_other_layers_are_refused(stage):
    model = staged(stage)
    for ask in (
        lambda: model.blocks,
        model.token_model,
        model.attention_model,
        lambda: enable_activation_checkpointing(model),
        lambda: learning_rate_factors(model, 0.5),
    ):
        with pytest.raises(InputError, match=r"block_0 .*stage"):
            ask()


class Outer(Block):
    """A block that consists of blocks is one."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = block("inner")

    def build(self, input_shape):
        self.inner.build(input_shape)

    def call(self, tokens):
        return self.inner(tokens)


def test_a_block_inside_of_a_block_is_a_part_of_it():
    model = staged(Outer(name="outer"))
    assert [found.name for found in model.blocks] == ["outer", "first"]
    with pytest.raises(InputError, match=r"Outer .*attention_maps\(tokens\)"):
        model.attention_model()


class Unknown(Block):
    """A block whose attention is a layer without methods."""

    def build(self, input_shape):
        self.scores = keras.layers.Dense(4, name="scores")
        self.scores.build(input_shape)

    def call(self, tokens):
        return self.attention_maps(tokens) @ tokens

    def attention_maps(self, tokens):
        return keras.ops.softmax(self.scores(tokens))


def test_attention_that_is_not_known_is_not_left_out():
    model = staged(Unknown(name="unknown"))
    with pytest.raises(InputError, match=r"Unknown .*attention_probabilities\(tokens\)"):
        select_trainable(model, "attention")


class Listed(Classifier):
    """Names its blocks itself."""

    def __init__(self):
        inputs = image()
        stage = Stage(name="stage")
        super().__init__(inputs, {"class": pooled(stage(patches()(inputs)))})
        self.stage = stage

    @property
    def blocks(self):
        return self.stage.inner


def test_groups_of_blocks_that_a_model_lists_itself():
    model = Listed()
    enable_activation_checkpointing(model)
    with pytest.raises(InputError, match=r"Listed .*layer_groups\(\)"):
        learning_rate_factors(model, 0.5)


def test_an_error_in_blocks_is_not_hidden():
    class Broken(Listed):
        @property
        def blocks(self):
            return self.no_such_attribute

    with pytest.raises(AttributeError, match="no_such_attribute"):
        enable_activation_checkpointing(Broken())


def test_a_model_without_blocks_has_no_tokens():
    with pytest.raises(InputError, match=r"token_model.*blocks.*own"):
        classifier(patches()).token_model()


def of_heads(heads):
    """Returns a classifier with heads that a function computes from the tokens."""
    inputs = image()
    return Classifier(inputs, heads(patches()(inputs)))


HEADS_WITHOUT_LAYER = {
    "operation": lambda x: keras.ops.log_softmax(pooled(x)),
    "pooled": lambda x: keras.layers.GlobalAveragePooling1D()(keras.layers.Dense(3)(x)),
    "nested": lambda x: keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])(x),
    "built": lambda x: keras.Sequential(
        [keras.Input(x.shape[1:]), keras.layers.Flatten(), keras.layers.Dense(3)]
    )(x),
}


@pytest.mark.parametrize("kind", HEADS_WITHOUT_LAYER)
def test_logits_that_are_not_those_of_a_layer(kind):
    model = of_heads(lambda x: {"class": HEADS_WITHOUT_LAYER[kind](x)})
    for ask in (
        model.class_axes,
        model.feature_model,
        lambda: model.init_head_bias(0.0),
        lambda: select_trainable(model, "head"),
    ):
        with pytest.raises(InputError, match=r"head_layers.*'class'"):
            ask()


def test_a_model_that_names_its_head():
    class Named(Classifier):
        @property
        def head_layers(self):
            return {"class": self.get_layer("class_head")}

    inputs = image()
    logits = keras.ops.log_softmax(pooled(patches()(inputs)))
    model = Named(inputs, {"class": logits})
    assert [axis for _, axis in model.class_axes()] == [1, 0]
    model.init_head_bias(-1.0)
    np.testing.assert_array_equal(numpy(model.get_layer("class_head").bias), [-1.0] * 3)


def test_the_head_of_the_class_is_needed():
    with pytest.raises(InputError, match=r"Classifier.*'class'.*main, other"):
        of_heads(lambda x: {"main": pooled(x, "a"), "other": pooled(x, "b")})


class Scores(keras.layers.Layer):
    """A head whose classes are in an axis that only it knows."""

    def build(self, input_shape):
        self.table = self.add_weight(shape=(3, input_shape[-1]), name="table")

    def call(self, tokens):
        return keras.ops.mean(tokens, axis=1) @ keras.ops.transpose(self.table)


def test_a_head_that_does_not_answer():
    model = of_heads(lambda x: {"class": Scores(name="scores")(x)})
    with pytest.raises(InputError, match=r"Scores .*class_axes\(\)"):
        model.class_axes()
    with pytest.raises(InputError, match=r"init_head_bias\(bias\)"):
        model.init_head_bias(0.0)


def test_a_head_without_a_bias():
    """Nothing is changed if one of two heads has none."""
    heads = {"class": {}, "distillation": {"use_bias": False}}
    model = of_heads(lambda x: {name: pooled(x, name, **v) for name, v in heads.items()})
    assert [(variable.path, axis) for variable, axis in model.class_axes()] == [
        *(("class/kernel", 1), ("class/bias", 0), ("distillation/kernel", 1))
    ]
    before = model.get_weights()
    with pytest.raises(InputError, match="bias"):
        model.init_head_bias(-1.0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


class FixedSize(Classifier):
    """Takes images of 8 pixels and has 10 classes; neither can be chosen."""

    def __init__(self, width=8, **kwargs):
        inputs = image()
        x = keras.layers.GlobalAveragePooling1D()(PatchEmbedding(4, width, name="stem")(inputs))
        super().__init__(inputs, {"class": classification_head(10, "class_head")(x)}, **kwargs)


@pytest.fixture
def fixed(monkeypatch):
    monkeypatch.setattr(registry.SPECS, "_values", dict(registry.SPECS._values))
    register_model("fixed", FixedSize)
    return "fixed"


def test_a_family_with_one_size_and_one_number_of_classes(fixed, tmp_path):
    model = create_model(fixed, num_classes=10)
    assert (model.num_classes, model.get_config()["width"]) == (10, 8)
    for values, message in (
        ({"num_classes": 5}, "num_classes=5"),
        ({"image_size": 16}, "'image_size'"),
    ):
        with pytest.raises(InputError, match=rf"fixed.*{message}"):
            create_model(fixed, **values)
    assert change_model(model, image_size=8, num_classes=10) is model
    for values, message in (
        ({"num_classes": 5}, "num_classes.* 10"),
        ({"image_size": 16}, "image_size.* 8"),
        ({"width": 4}, "width.* 8"),
    ):
        with pytest.raises(InputError, match=message):
            change_model(model, **values)
    save_model(model, tmp_path / "fixed.safetensors")
    again = model_from(tmp_path / "fixed.safetensors", fixed)
    for old, new in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_classifier_inside_of_another_one():
    inputs = image()
    inner = classifier(lambda images: PositionEmbedding(name="p")(patches()(images)))
    outer = Classifier(inputs, {"class": keras.layers.Dense(3, name="top")(inner(inputs))})
    assert [variable.path for variable in outer.no_weight_decay()] == ["p/positions"]


def test_sizes_are_whole_numbers_and_ratios_are_not():
    check_ratio(any_name=0.5)
    with pytest.raises(InputError, match=r"squeeze_ratio.*whole number.*0\.5"):
        check_positive(squeeze_ratio=0.5)
    with pytest.raises(InputError, match=r"any_name.*above 0.*-1"):
        check_ratio(any_name=-1)
