"""Weight decay and layer-wise learning rates: rules, counts, and what a step does."""

import keras
import numpy as np
import pytest
from harness import numpy
from references import step_cosine

from keras_deit import InputError
from keras_deit.layers import TransformerBlock
from keras_deit.models import Classifier, DeiT, abstract_model
from keras_deit.optimizers import (
    SGD,
    Adam,
    AdamW,
    Lamb,
    Optimization,
    build_optimizer,
    learning_rate_factors,
    no_weight_decay_variables,
)


def distilled_deit(depth=1):
    return DeiT(
        image_size=8,
        patch_size=4,
        embed_dim=8,
        depth=depth,
        num_heads=2,
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


def test_kernels_and_the_distillation_token_have_weight_decay():
    model = distilled_deit()
    without = {variable.path for variable in no_weight_decay_variables(model)}
    assert {variable.path for variable in model.trainable_variables} - without == DECAYED
    assert {"class_token/token", "position_embedding/positions"} < without


def count(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


@pytest.mark.parametrize(
    ("name", "decayed", "total"),
    [
        # The patch embedding, twelve blocks of 12·D², a head; distilled also a head and a token.
        ("deit_tiny_patch16_224", 768 * 192 + 144 * 192**2 + 192_000, 5_717_416),
        ("deit_tiny_distilled_patch16_224", 768 * 192 + 144 * 192**2 + 384_192, 5_910_800),
        ("deit_base_patch16_384", 768 * 768 + 144 * 768**2 + 768_000, 86_859_496),
    ],
)
def test_number_of_parameters_with_weight_decay(name, decayed, total):
    model = abstract_model(name)
    assert count(model.trainable_variables) == total
    assert total - count(no_weight_decay_variables(model)) == decayed


def test_layer_scale_and_every_bias_have_no_weight_decay_in_any_model():
    tokens = keras.Input((4, 8))
    block = TransformerBlock(num_heads=2, layer_scale_init=0.1, name="block")(tokens)
    outputs = keras.layers.MultiHeadAttention(2, 4, name="keras")(block, block)
    model = keras.Model(tokens, outputs)
    without = {variable.path for variable in no_weight_decay_variables(model)}
    # This bias has the rank 2.
    assert "keras/query/bias" in without
    assert {"block/layer_scale1/gamma", "block/norm1/beta", "block/attention/qkv/bias"} < without
    decayed = {variable.path for variable in model.trainable_variables} - without
    assert all(path.endswith("kernel") for path in decayed)
    assert len(decayed) == 8


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_steps_without_gradient_only_decay_the_weights(steps, layer_decay):
    """The factor of each step is 1 - lr·wd, with the layer's own learning rate."""
    model = distilled_deit()
    optimization = Optimization(
        epochs=10,
        batch_size=512,
        learning_rate=0.5,
        warmup_epochs=2,
        weight_decay=0.2,
        layer_decay=layer_decay,
    )
    optimizer = build_optimizer(model, optimization, steps_per_epoch=2)
    variables = model.trainable_variables
    before = [numpy(variable).astype("float64") for variable in variables]
    for _ in range(steps):
        optimizer.apply([keras.ops.zeros(v.shape) for v in variables], variables)
    rates = [step_cosine(step, 0.5, total=20, warmup=4) for step in range(steps)]
    for variable, values in zip(variables, before, strict=True):
        if variable.path in DECAYED:
            head, block = variable.path.split("/")[0].endswith("head"), "block" in variable.path
            own = layer_decay ** (0 if head else 1 if block else 2)
            factor = np.prod([1 - 0.2 * own * rate for rate in rates])
            np.testing.assert_allclose(
                numpy(variable), factor * values, rtol=1e-6, err_msg=variable.path
            )
        else:
            np.testing.assert_array_equal(numpy(variable), values, err_msg=variable.path)
    assert steps == 1 or factor < 0.95


def test_learning_rate_factors_decrease_from_block_to_block():
    factors = learning_rate_factors(distilled_deit(depth=3), 0.75)
    for prefix, power in {
        "patch_embedding/projection/bias": 4,
        "distillation_token/token": 4,
        "class_token/token": 4,
        "position_embedding/positions": 4,
        "block_0/attention/qkv/kernel": 3,
        "block_0/norm2/gamma": 3,
        "block_2/mlp/contract/bias": 1,
        "norm/beta": 0,
        "class_head/kernel": 0,
        "distillation_head/bias": 0,
    }.items():
        assert factors[prefix] == pytest.approx(0.75**power), prefix
    assert len(factors) == len(distilled_deit(depth=3).trainable_variables)


def test_twelve_blocks_have_thirteen_powers():
    model = abstract_model("deit_base_patch16_224")
    factors = learning_rate_factors(model, 0.75)
    assert sorted(set(factors.values())) == [pytest.approx(0.75**k) for k in range(13, -1, -1)]


class _WithoutBlocks(Classifier):
    def __init__(self):
        images = keras.Input((8, 8, 3))
        logits = keras.layers.Dense(3, name="class_head")(keras.layers.Flatten()(images))
        super().__init__(images, {"class": logits})


def test_layer_decay_needs_a_model_of_blocks():
    with pytest.raises(InputError, match=r"layer_decay.*blocks"):
        learning_rate_factors(_WithoutBlocks(), 0.75)
    convnet = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
    with pytest.raises(InputError, match=r"layer_groups.*layer_decay"):
        learning_rate_factors(convnet, 0.75)


class _Scale(keras.layers.Layer):
    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1],), name="kernel")

    def call(self, x):
        return x * self.kernel


def test_variables_of_one_path_in_different_groups_are_refused():
    inputs = keras.Input((4,))
    inner = keras.Model(inputs, _Scale(name="same")(inputs))
    outer = keras.Input((4,))
    model = keras.Model(outer, keras.layers.Dense(4, use_bias=False, name="same")(inner(outer)))
    assert [variable.path for variable in model.trainable_variables] == ["same/kernel"] * 2
    with pytest.raises(InputError, match=r"path.* same/kernel"):
        build_optimizer(model, Optimization(), 10)


class _SamePaths(Classifier):
    """Has a block and a head whose variables have the same paths."""

    def __init__(self):
        tokens = keras.Input((4, 8))
        inner = keras.Model(tokens, keras.layers.Dense(8, name="class_head")(tokens), name="inner")
        images = keras.Input((4, 8))
        x = TransformerBlock(num_heads=2, name="block")(inner(images))
        logits = keras.layers.Dense(3, name="class_head")(x[:, 0])
        super().__init__(images, {"class": logits})


def test_variables_of_one_path_with_different_learning_rates_are_refused():
    with pytest.raises(InputError, match=r"path.* class_head/bias, class_head/kernel"):
        learning_rate_factors(_SamePaths(), 0.5)


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ({}, AdamW, {"weight_decay": 0.05, "epsilon": 1e-8, "global_clipnorm": None}),
        ({"clip_norm": 2.0, "adam_epsilon": 1e-6}, AdamW, {"epsilon": 1e-6, "global_clipnorm": 2}),
        ({"optimizer": "lamb"}, Lamb, {"epsilon": 1e-8, "global_clipnorm": 1.0, "beta_2": 0.999}),
        ({"optimizer": "lamb", "clip_norm": 0.0}, Lamb, {"global_clipnorm": None}),
        ({"optimizer": "sgd", "momentum": 0.8}, SGD, {"momentum": 0.8, "weight_decay": 0.05}),
        ({"optimizer": "sgd", "nesterov": False}, SGD, {"nesterov": False}),
    ],
    ids=str,
)
def test_optimizer_is_built_as_the_recipe_says(values, kind, expected):
    optimizer = build_optimizer(distilled_deit(), Optimization(**values), steps_per_epoch=2)
    assert type(optimizer) is kind
    config = optimizer.get_config()
    assert {name: config[name] for name in expected} == expected
    assert len(config["no_weight_decay"]) == 15 and not config["learning_rate_factors"]


def test_every_variable_has_weight_decay_if_the_recipe_says_so():
    optimization = Optimization(weight_decay_on="all", warmup_epochs=0)
    model = distilled_deit()
    optimizer = build_optimizer(model, optimization, steps_per_epoch=2)
    assert optimizer.get_config()["no_weight_decay"] == []
    before = [numpy(variable) for variable in model.trainable_variables]
    optimizer.apply([keras.ops.zeros(v.shape) for v in before], model.trainable_variables)
    for variable, value in zip(model.trainable_variables, before, strict=True):
        expected = value * (1 - optimization.peak_learning_rate * 0.05)
        np.testing.assert_allclose(numpy(variable), expected, rtol=1e-6)


@pytest.mark.parametrize("cls", [AdamW, Adam, Lamb])
@pytest.mark.backends("torch")
def test_lists_of_variables_get_the_updates_of_each(cls, monkeypatch):
    def weights(at_once):
        if not at_once:
            monkeypatch.setattr(AdamW, "apply_at_once", lambda self, *given: False)
        draws = np.random.default_rng(0)
        shapes = {"kernel": (4, 3), "bias": (3,), "other": (2, 2)}
        variables = [keras.Variable(draws.normal(size=s), name=n) for n, s in shapes.items()]
        optimizer = cls(
            *(0.1, 0.3),
            no_weight_decay=["bias"],
            learning_rate_factors={"other": 0.5},
            final_weight_decay=0.1,
            total_steps=4,
        )
        for _ in range(3):
            gradients = [draws.normal(size=shape).astype("float32") for shape in shapes.values()]
            optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)
        return [keras.ops.convert_to_numpy(v) for v in (*variables, *optimizer.variables)]

    for one, other in zip(weights(True), weights(False), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.backends("torch")
def test_own_updates_of_a_subclass_are_not_passed_by():
    class Still(AdamW):
        def update_step(self, gradient, variable, learning_rate):
            pass

    class Doubled(AdamW):
        def trust_ratio(self, variable, update, decay):
            return 2.0

    moved = {}
    for cls in (AdamW, Still, Doubled):
        variable = keras.Variable(np.ones(2), name="v")
        cls(0.1, 0.0).apply([keras.ops.ones(2)], [variable])
        moved[cls] = 1 - keras.ops.convert_to_numpy(variable)[0]
    assert moved[Still] == 0 and moved[AdamW] == pytest.approx(0.1, abs=1e-6)
    assert moved[Doubled] == pytest.approx(0.2, abs=1e-6)
