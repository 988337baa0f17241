"""Pruning by gates: what is chosen, what the narrow model computes, and the published counts."""

import json

import keras
import numpy as np
import pytest
from harness import numpy, run

from keras_deit import InputError, count_macs, load_pretrained
from keras_deit.layers import Channels
from keras_deit.layers.activations import ACTIVATION_COSTS
from keras_deit.layers.introspection import gate_variables
from keras_deit.models import CaiT, DeiT, DeiT3, ResMLP, ViT, abstract_model, fold_layer_scale
from keras_deit.models.pruning import (
    check_prunable,
    choose,
    close_gates,
    count_gates,
    kept_count,
    pruned,
    with_gates,
)
from keras_deit.objectives import Sparsity, TrainingModel
from keras_deit.pretrained.conversion import model_from, save_model

SIZES = {
    **{"image_size": 8, "patch_size": 4, "embed_dim": 12, "depth": 2, "num_heads": 3},
    **{"num_classes": 4},
}
MODELS = {
    "distilled DeiT": lambda: DeiT(**SIZES, distilled=True),
    "DeiT with LSA": lambda: DeiT(**SIZES, lsa=True, class_depth=1, class_token_at=2),
    "DeiT with Fixup": lambda: DeiT(**SIZES, residual="fixup"),
    "DeiT with T-Fixup": lambda: DeiT(**SIZES, residual="t_fixup"),
    "parallel DeiT III": lambda: DeiT3(**SIZES, branches=2),
    "ViT": lambda: ViT(**SIZES),
    "CaiT": lambda: CaiT(**SIZES, class_depth=1, layer_scale_init=0.5),
}
IMAGES = np.random.default_rng(1).normal(size=(3, 8, 8, 3)).astype("float32")
every_backend = pytest.mark.backends("tensorflow", "jax", "torch")


def random_values(model, deviation=0.3):
    rng = np.random.default_rng(2)
    for weight in model.weights:
        value = keras.ops.convert_to_numpy(weight.value)
        weight.assign(value + rng.normal(0, deviation, weight.shape).astype("float32"))
    return model


def gated_model(name="distilled DeiT"):
    """Returns a model and the same with gates that are not 1."""
    model = random_values(MODELS[name]())
    gated = with_gates(model)
    rng = np.random.default_rng(3)
    for gate in gate_variables(gated):
        gate.assign(rng.normal(1, 0.5, gate.shape))
    return model, gated


def outputs(model):
    return numpy(run(model, IMAGES))


def assert_pruned_like_closed(gated, equal_heads):
    kept = choose(gated, 0.4, equal_heads)
    total = count_gates(gated)
    assert sum(len(rows) for block in kept for rows in block.values()) == round(0.6 * total)
    narrow = pruned(gated, kept)
    before = outputs(gated)
    close_gates(gated, kept)
    expected = outputs(gated)
    assert np.abs(expected - before).max() > 0.05
    np.testing.assert_allclose(outputs(narrow), expected, atol=1e-5)
    assert narrow.count_params() < 0.75 * gated.count_params()
    assert count_macs(narrow) < 0.75 * count_macs(gated)
    return narrow


@every_backend
def test_gates_of_1_change_nothing_and_closed_ones_do_what_pruning_does():
    model, _ = gated_model()
    gated = with_gates(model)
    np.testing.assert_array_equal(outputs(gated), outputs(model))
    narrow = assert_pruned_like_closed(gated_model()[1], equal_heads=True)
    # On JAX a step deletes the arrays of its model.
    narrow.compile()
    narrow.predict_on_batch(IMAGES)
    outputs(model)
    config = json.loads(json.dumps(narrow.get_config()))
    assert type(narrow).from_config(config).count_params() == narrow.count_params()


@pytest.mark.parametrize("name", MODELS)
def test_a_pruned_model_computes_what_closed_gates_make_of_it(name):
    narrow = assert_pruned_like_closed(gated_model(name)[1], equal_heads=False)
    # Once more, from what is left.
    again = with_gates(narrow)
    for gate in gate_variables(again):
        gate.assign(np.random.default_rng(4).normal(1, 0.5, gate.shape))
    assert_pruned_like_closed(again, equal_heads=True)


def test_layer_scale_of_a_model_with_gates_is_folded():
    for name in ("DeiT with Fixup", "CaiT"):
        gated = gated_model(name)[1]
        folded = fold_layer_scale(gated)
        np.testing.assert_allclose(outputs(folded), outputs(gated), atol=1e-4)
        assert folded is not gated


def test_the_heads_of_an_attention_keep_equally_many_and_a_layer_keeps_something():
    gated = gated_model()[1]
    block = gated.blocks[0].gated_channels()
    # The output of the heads counts least, and the first head less than that.
    block["attention_output"].channels.gate.assign(np.repeat([0.0, 0.01, -0.02], 4))
    block["mlp_input"].channels.gate.assign(np.r_[np.full(11, 5.0), -6.0])
    kept = choose(gated, 0.4)
    heads = kept[0]["attention_output"] // 4
    assert np.bincount(heads, minlength=3).tolist() == [1, 1, 1]
    assert len(kept[0]["mlp_input"]) == 12
    assert len(choose(gated, 0.4, equal_heads=False)[0]["attention_output"]) == 1
    values = np.concatenate([numpy(gate) for gate in gate_variables(gated)])
    free = choose(gated, 0.4, equal_heads=False)
    mean = np.mean([len(rows) for block in free for rows in block.values()])
    assert mean == round(0.6 * len(values)) / 8


def test_counts_of_the_paper():
    assert count_gates(abstract_model("deit_base_patch16_224", gates=True)) == 64_512
    for rate, parameters, gmacs, own in ((0.2, 65.0, 13.3, 63.9), (0.4, 45.8, 9.5, 44.0)):
        # The first outputs of all heads together, as if heads did not matter: the values stay as
        # wide as they are, as in the paper's counts. Of equal heads their columns go, too.
        for equal, expected in ((False, parameters), (True, own)):
            left = list(range(round(768 * (1 - rate))))
            by_head = [64 * head + i for head in range(12) for i in range(round(64 * (1 - rate)))]
            kept = {
                "attention_input": left,
                "attention_output": by_head if equal else left,
                "mlp_input": left,
                "mlp_hidden": round(3072 * (1 - rate)),
            }
            model = abstract_model("deit_base_patch16_224", kept=[kept] * 12)
            assert round(model.count_params() / 1e6, 1) == expected
            if not equal:
                assert round(count_macs(model) / 1e9, 1) == gmacs


def test_a_pruned_model_is_written_and_read_with_its_widths(tmp_path):
    narrow = pruned(gated := gated_model()[1], choose(gated, 0.5))
    expected = outputs(narrow)
    for suffix in (".keras", ".weights.h5", ".safetensors"):
        file = tmp_path / f"narrow{suffix}"
        save_model(narrow, file)
        if suffix == ".keras":
            read = model_from(file)
        else:
            read = type(narrow).from_config(narrow.get_config())
            load_pretrained(read, file)
        np.testing.assert_allclose(outputs(read), expected, atol=1e-6)
    with pytest.raises(InputError, match="fit"):
        load_pretrained(MODELS["distilled DeiT"](), tmp_path / "narrow.weights.h5")


def test_weights_without_gates_are_loaded_into_a_model_with_gates(tmp_path):
    model = random_values(MODELS["distilled DeiT"]())
    for suffix in (".weights.h5", ".safetensors"):
        save_model(model, tmp_path / f"plain{suffix}")
        gated = random_values(DeiT(**SIZES, distilled=True, gates=True))
        for gate in gate_variables(gated):
            gate.assign(np.ones(gate.shape))
        load_pretrained(gated, tmp_path / f"plain{suffix}")
        np.testing.assert_array_equal(outputs(gated), outputs(model))


def test_a_narrow_model_saves_less_and_gates_save_more():
    def saved(**values):
        return DeiT(**SIZES, **values).saved_activations(ACTIVATION_COSTS["jax"]).computed

    kept = {"attention_output": [0, 4, 8], "mlp_hidden": 5}
    tokens = 4 + 1
    # Values and attended values, copies of what the second layer of the MLP reads and of GELU's.
    removed = tokens * (2 * 9 + 3 * 43)
    assert saved() - saved(kept=[kept, {}]) == removed
    # Each gate saves what it multiplies.
    assert saved(gates=True) - saved() == 2 * tokens * (3 * 12 + 48)


@every_backend
def test_the_gates_are_trained_on_the_labels_and_towards_0():
    gated = gated_model()[1]
    before = [numpy(gate) for gate in gate_variables(gated)]
    objective = Sparsity(l1=0.01)
    model = TrainingModel(gated, objective)
    model.compile(keras.optimizers.SGD(0.0), jit_compile=keras.backend.backend() == "jax")
    logs = model.train_on_batch(IMAGES, np.array([0, 1, 2]), return_dict=True)
    expected = 0.01 * sum(np.abs(gate).sum() for gate in before)
    np.testing.assert_allclose(logs["gate_loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], logs["class_loss"] + expected, rtol=1e-5)
    model.compile(keras.optimizers.SGD(1.0), jit_compile=keras.backend.backend() == "jax")
    objective.l1 = 0.1
    model.train_on_batch(IMAGES, np.array([0, 1, 2]))
    total = sum(np.abs(numpy(gate)).sum() for gate in gate_variables(gated))
    assert total < expected / 0.01


@pytest.mark.backends("torch")
def test_the_most_informative_inputs_have_the_largest_gates():
    """32 inputs, of which 8 decide the class: the paper's λ, scaled to the size, finds them."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(256, 32)).astype("float32")
    informative = rng.permutation(32)[:8]
    signs = np.stack([rng.permutation([1, 1, -1, -1]) for _ in range(8)])
    y = np.argmax(x[:, informative] @ signs, axis=1)

    def found(l1):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((32,))
        gates = Channels(gates=True)
        hidden = keras.layers.Dense(32, activation="gelu")(gates(inputs))
        model = TrainingModel(keras.Model(inputs, keras.layers.Dense(4)(hidden)), Sparsity(l1=l1))
        model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
        model.fit(x, y, batch_size=256, epochs=100, verbose=0)
        best = np.argsort(-np.abs(numpy(gates.gate)))[:8]
        return len({*best} & {*informative})

    assert found(3e-3) == 8
    assert found(0.0) < 8


def test_impossible_prunings_are_errors():
    gated = DeiT(**SIZES, gates=True)
    for rate in (0, 1, 1.5, -0.1):
        with pytest.raises(InputError, match=r"rate should be above 0 and below 1.*Received"):
            kept_count(gated, rate)
    # Each block needs 1 + 3 + 1 + 1 of its gates.
    with pytest.raises(InputError, match=r"leaves 8 of 168 gates, and 12 .* at most 0\.9286"):
        choose(gated, 0.95)
    with pytest.raises(InputError, match="no gates"):
        choose(DeiT(**SIZES), 0.4)
    with pytest.raises(InputError, match=r"ResMLP cannot be pruned.*DeiT"):
        check_prunable(ResMLP, {})
    with pytest.raises(InputError, match="model with gates"):
        TrainingModel(DeiT(**SIZES), Sparsity())
    with pytest.raises(InputError, match="l1"):
        Sparsity(l1=-1.0)
    for kept, message in (
        ([{}], "2 blocks"),
        ([{"mlp": [0]}, {}], "mlp_input"),
        ([{"mlp_input": [0, 12]}, {}], "below 12"),
        ([{"mlp_input": [3, 1]}, {}], "ascending"),
        ([{"mlp_hidden": 0}, {}], "above 0"),
        ([{"attention_output": []}, {}], "ascending"),
    ):
        with pytest.raises(InputError, match=message):
            DeiT(**SIZES, kept=kept)
