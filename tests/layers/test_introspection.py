"""What layers tell about themselves: multiply-adds, splits, positions, weight decay, attentions."""

import keras
import pytest
from harness import path_below

from keras_deit import InputError, layers
from keras_deit.layers.introspection import (
    MODEL_AXIS,
    attention_layers,
    layer_macs,
    model_parallel_axes,
    no_weight_decay,
    position_tables,
)
from keras_deit.layers.positions import AbsolutePositions

TOKENS = (None, 6, 12)


class Gated(keras.layers.Layer):
    """A layer of a user: two matrices of its own, and nothing said about them."""

    def build(self, input_shape):
        self.matrix = self.add_weight(shape=(input_shape[-1],) * 2, name="matrix")

    def call(self, tokens):
        return tokens * keras.ops.matmul(tokens, self.matrix)


class GatedWithMacs(Gated):
    def macs(self, input_shape):
        return input_shape[1] * input_shape[2] ** 2


class Wrapper(keras.layers.Layer):
    """A layer of a user that has no method, but layers inside."""

    def __init__(self, *inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = list(inner)

    def build(self, input_shape):
        for layer in self.inner:
            layer.build(input_shape)

    def call(self, tokens):
        for layer in self.inner:
            tokens = layer(tokens)
        return tokens


def built(layer, shape=TOKENS):
    layer.build(shape)
    return layer


MACS = [
    # A dense layer is applied at every position.
    (keras.layers.Dense(5), (None, 4, 3, 7), 4 * 3 * 7 * 5),
    (keras.layers.EinsumDense("abc,cd->abd", (None, 5)), (None, 4, 7), 4 * 7 * 5),
    (keras.layers.Conv1D(5, 3, padding="same"), (None, 8, 7), 8 * 3 * 7 * 5),
    # The output has 3×2 positions.
    (keras.layers.Conv2D(5, (3, 2), strides=2), (None, 7, 5, 4), 3 * 2 * 3 * 2 * 4 * 5),
    (keras.layers.Conv2D(6, 3, groups=2, padding="same"), (None, 4, 4, 8), 16 * 9 * 4 * 6),
    (keras.layers.DepthwiseConv2D(3, padding="same"), (None, 4, 4, 8), 16 * 9 * 8),
    (keras.layers.SeparableConv2D(5, 3, padding="same"), (None, 4, 4, 8), 16 * (9 * 8 + 8 * 5)),
    (keras.layers.LayerNormalization(), (None, 4, 8), 0),
    (keras.layers.BatchNormalization(), (None, 4, 8), 0),
    (keras.layers.ReLU(), (None, 4, 8), 0),
    (layers.LayerScale(0.1), TOKENS, 0),
    (layers.PrependToken(), TOKENS, 0),
    (layers.PositionEmbedding(), TOKENS, 0),
    (layers.MLP(20), TOKENS, 2 * 6 * 12 * 20),
    (layers.MultiHeadSelfAttention(3), TOKENS, 6 * 12 * 48 + 2 * 6 * 6 * 12),
    # Two matrices of 3×3 heads for each pair of tokens.
    (layers.TalkingHeadsAttention(3), TOKENS, 6 * 12 * 48 + 2 * 6 * 6 * 12 + 2 * 9 * 36),
    (layers.ClassAttention(3), TOKENS, (2 * 1 + 2 * 6) * 144 + 2 * 6 * 12),
    # Two class tokens attend to four patches.
    (
        layers.ClassAttention(3, num_class_tokens=2, patches_only=True),
        TOKENS,
        (2 * 2 + 2 * 4) * 144 + 2 * 2 * 4 * 12,
    ),
    (layers.PerClassHead(), TOKENS, 6 * 12),
    (layers.SqueezeExcitation(3), (None, 4, 4, 8), 2 * 8 * 3),
    (layers.ConvBlock(), (None, 4, 4, 8), 2 * 16 * 64 + 16 * 9 * 8 + 2 * 8 * 2),
    (GatedWithMacs(), TOKENS, 6 * 144),
    (Wrapper(keras.layers.Dense(12), GatedWithMacs()), TOKENS, 2 * 6 * 144),
    # Each head has its own part of the kernel.
    (keras.layers.EinsumDense("abcd,cde->abe", (None, 5)), (None, 6, 4, 3), 6 * 4 * 3 * 5),
    (keras.layers.EinsumDense("...x,xy->...y", 5), (None, 4, 7), 4 * 7 * 5),
]


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [pytest.param(*row, id=f"{type(row[0]).__name__}-{row[2]}") for row in MACS],
)
def test_macs_by_hand(layer, shape, expected):
    assert layer_macs(built(layer, shape), shape) == expected


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Gated(), TOKENS),
        (keras.layers.LSTM(3), TOKENS),
        (keras.layers.Dot(2), [TOKENS, TOKENS]),
        (keras.layers.Conv2DTranspose(3, 2), (None, 4, 4, 3)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_macs_of_an_unknown_layer_with_matrices_are_an_error(layer, shape):
    """They are never counted as 0."""
    with pytest.raises(InputError, match=rf"{type(layer).__name__} .*macs\(input_shape\)"):
        layer_macs(built(layer, shape), shape)


def axes_by_path(layer):
    return {path_below(layer, variable): axes for variable, axes in model_parallel_axes(layer)}


BY_OUTPUT, BY_INPUT, BIAS = (None, MODEL_AXIS), (MODEL_AXIS, None), (MODEL_AXIS,)
MLP = {"expand/kernel": BY_OUTPUT, "expand/bias": BIAS, "contract/kernel": BY_INPUT}
ATTENTION = {"qkv/kernel": BY_OUTPUT, "qkv/bias": BIAS, "projection/kernel": BY_INPUT}


def below(prefix, axes):
    return {f"{prefix}/{path}": value for path, value in axes.items()}


SPLITS = [
    (layers.MLP(20), TOKENS, MLP),
    (layers.MultiHeadSelfAttention(3), TOKENS, ATTENTION),
    (
        layers.MultiHeadSelfAttention(3, qkv_bias=False),
        TOKENS,
        {"qkv/kernel": BY_OUTPUT, "projection/kernel": BY_INPUT},
    ),
    # The mixtures of heads need all heads.
    (layers.TalkingHeadsAttention(3), TOKENS, ATTENTION),
    (
        layers.ClassAttention(3),
        TOKENS,
        {
            **{f"{name}/kernel": BY_OUTPUT for name in ("query", "key", "value")},
            **{f"{name}/bias": BIAS for name in ("query", "key", "value")},
            "projection/kernel": BY_INPUT,
        },
    ),
    (
        layers.TransformerBlock(3, branches=2),
        TOKENS,
        {
            **below("attention", ATTENTION),
            **below("attention_b", ATTENTION),
            **below("mlp", MLP),
            **below("mlp_b", MLP),
        },
    ),
    (
        layers.ResMLPBlock(0.1),
        TOKENS,
        {"cross_patch/kernel": BY_OUTPUT, "cross_patch/bias": BIAS, **below("mlp", MLP)},
    ),
    (
        layers.ConvBlock(),
        (None, 4, 4, 8),
        {
            "expand/kernel": BY_OUTPUT,
            "expand/bias": BIAS,
            "depthwise/kernel": (None, None, MODEL_AXIS, None),
            "depthwise/bias": BIAS,
            "contract/kernel": BY_INPUT,
        },
    ),
    (keras.layers.Dense(3), TOKENS, {}),
    (Gated(), TOKENS, {}),
    (Wrapper(layers.MLP(20, name="mlp")), TOKENS, below("mlp", MLP)),
]


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [pytest.param(*row, id=f"{type(row[0]).__name__}-{len(row[2])}") for row in SPLITS],
)
def test_model_parallel_axes(layer, shape, expected):
    assert axes_by_path(built(layer, shape)) == expected
    for variable, axes in model_parallel_axes(layer):
        assert len(axes) == len(variable.shape)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.PositionEmbedding((2, 3)), {"positions": (2, 3)}),
        (layers.ResMLPBlock(0.1), {"cross_patch/kernel": None, "cross_patch/bias": None}),
        (layers.ClassMLPBlock(0.1), {"gather/kernel": None}),
        (layers.TransformerBlock(3), {}),
        (
            Wrapper(layers.PositionEmbedding((2, 3), name="inner"), layers.MLP(4)),
            {"inner/positions": (2, 3)},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_position_tables(layer, expected):
    tables = position_tables(built(layer))
    assert {path_below(layer, table.variable): table.grid for table in tables} == expected
    for table in tables:
        is_absolute = isinstance(table, AbsolutePositions)
        assert table.is_embedding == is_absolute == (table.grid is not None)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.PrependToken(), ["token"]),
        (layers.PrependToken(weight_decay=True), []),
        (layers.PositionEmbedding(), ["positions"]),
        (layers.TransformerBlock(3, layer_scale_init=0.1), []),
        (Wrapper(layers.PositionEmbedding(name="a"), layers.MLP(4)), ["a/positions"]),
    ],
    ids=["token", "decayed token", "positions", "block", "wrapper"],
)
def test_no_weight_decay(layer, expected):
    variables = no_weight_decay(built(layer))
    assert [path_below(layer, variable) for variable in variables] == expected


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.TransformerBlock(3), ["attention"]),
        (layers.TransformerBlock(3, branches=2), ["attention", "attention_b"]),
        (layers.ClassAttentionBlock(3), ["attention"]),
        (layers.MLP(4), []),
        (layers.ResMLPBlock(0.1), []),
        (
            Wrapper(
                layers.TalkingHeadsAttention(3, name="first"),
                Wrapper(layers.MultiHeadSelfAttention(2, name="second")),
            ),
            ["first", "second"],
        ),
    ],
    ids=["block", "two branches", "class block", "MLP", "ResMLP block", "wrapper"],
)
def test_attention_layers(layer, expected):
    assert [found.name for found in attention_layers(built(layer))] == expected


@pytest.mark.parametrize(
    "attention",
    [
        keras.layers.MultiHeadAttention(2, 4),
        keras.layers.GroupQueryAttention(4, 2, 1),
        keras.layers.Attention(),
        keras.layers.AdditiveAttention(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_attention_of_keras_is_an_attention_layer(attention):
    assert attention_layers(attention) == [attention]
