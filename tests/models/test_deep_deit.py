"""Very deep DeiT: weights of the residual branches, their start, the place of the class token."""

import numpy as np
import pytest
from harness import numpy, randomize

from keras_deit import InputError
from keras_deit.models import CaiT, DeiT, DeiT3, fold_layer_scale, folds_layer_scale
from keras_deit.pretrained import load_pretrained, save_safetensors

SIZES = {
    "image_size": 8,
    "patch_size": 4,
    "embed_dim": 12,
    "depth": 4,
    "num_heads": 3,
    "num_classes": 5,
}
IMAGES = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")


def deit(**values):
    return DeiT(**{**SIZES, **values})


def factors(model):
    return [
        numpy(w) for w in model.weights if w.path.endswith("/gamma") and "layer_scale" in w.path
    ]


@pytest.mark.parametrize(
    ("residual", "further"),
    [
        ("none", 0),
        ("rezero", 2 * 4),
        ("scalar", 2 * 4),
        ("t_fixup", 2 * 4),
        ("fixup", (2 + 5) * 4),
        ("layer_scale", 2 * 12 * 4),
        ("layer_scale_zero", 2 * 12 * 4),
        ("layer_scale_uniform", 2 * 12 * 4),
    ],
)
def test_further_parameters(residual, further):
    assert deit(residual=residual).count_params() - deit().count_params() == further


@pytest.mark.parametrize("residual", ["rezero", "layer_scale_zero"])
def test_blocks_that_start_at_0_are_the_identity(residual):
    model = deit(residual=residual)
    outputs = model.token_model()(IMAGES)
    first, *others = (numpy(outputs[f"block_{index}"]) for index in range(4))
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize(("depth", "epsilon"), [(18, 0.1), (24, 1e-5), (36, 1e-6)])
@pytest.mark.parametrize("residual", ["layer_scale", "scalar"])
def test_factors_start_at_the_value_of_the_depth(depth, epsilon, residual):
    model = deit(depth=depth, residual=residual)
    for factor in factors(model):
        np.testing.assert_array_equal(factor, np.float32(epsilon))


def test_uniform_factors_are_drawn_up_to_twice_the_value():
    values = np.concatenate(factors(deit(embed_dim=300, residual="layer_scale_uniform")))
    assert values.min() >= 0
    assert values.max() <= 0.2
    assert abs(values.mean() - 0.1) < 0.01


def test_frozen_factors_are_not_trained():
    model = deit(residual="layer_scale_frozen")
    trained = {variable.path for variable in model.trainable_variables}
    assert len(factors(model)) == 8
    assert not any("layer_scale" in path for path in trained)
    twin = DeiT.from_config(model.get_config())
    assert {variable.path for variable in twin.trainable_variables} == trained


def test_fixup_starts_as_the_identity_with_logits_of_0():
    model = deit(residual="fixup")
    np.testing.assert_array_equal(numpy(model(IMAGES)), 0)
    block = model.get_layer("block_0")
    deviation = numpy(block.mlp_branch[1].expand.kernel).std()
    # Xavier's, divided by the root of the number of branches.
    assert abs(deviation / (np.sqrt(2 / (12 + 48)) / np.sqrt(8)) - 1) < 0.1


def test_t_fixup_scales_the_values_and_leaves_queries_and_keys():
    wide = DeiT(**{**SIZES, "embed_dim": 192, "residual": "t_fixup"})
    kernel = numpy(wide.get_layer("block_0").attention_branch[1].qkv.kernel)
    query, key, value = (part.std() for part in np.split(kernel, 3, axis=1))
    np.testing.assert_allclose([query / key, value / query], [1, 0.67 * 4**-0.25], rtol=0.03)


@pytest.mark.parametrize("distilled", [False, True])
@pytest.mark.parametrize("place", [0, 2, 3])
def test_place_of_the_class_token(place, distilled):
    model = deit(class_token_at=place, distilled=distilled)
    lengths = [block.output.shape[1] for block in model.blocks]
    assert lengths == [4] * place + [5 + distilled] * (4 - place)
    positions = model.get_layer("position_embedding").positions
    assert positions.shape[1] == (4 if place else 5 + distilled)


def test_class_attention_behind_self_attention():
    model = deit(depth=3, class_depth=2, residual="layer_scale")
    names = [block.name for block in model.blocks]
    assert names == ["block_0", "block_1", "block_2", "class_block_0", "class_block_1"]
    assert [block.output.shape[1] for block in model.blocks] == [4, 4, 4, 5, 5]
    maps = model.attention_model()(IMAGES)
    assert tuple(maps["class_block_1"].shape) == (2, 3, 1, 5)


@pytest.mark.parametrize(
    "values",
    [
        {"residual": "fixup", "distilled": True},
        {"residual": "scalar", "class_depth": 1},
        {"residual": "layer_scale", "class_token_at": 2},
    ],
)
def test_weights_go_through_a_file(values, tmp_path):
    model = deit(**values)
    randomize(model)
    save_safetensors(model, tmp_path / "model.safetensors")
    other = deit(**values)
    load_pretrained(other, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(numpy(other(IMAGES)), numpy(model(IMAGES)))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (DeiT, {"residual": "layer_scale", "class_depth": 1, "distilled": True}),
        (DeiT, {"residual": "rezero", "lsa": True}),
        (DeiT, {"residual": "fixup"}),
        (DeiT3, {"branches": 2}),
        (CaiT, {}),
    ],
)
def test_folding_changes_nothing_and_leaves_no_factor(kind, values):
    model = kind(**{**SIZES, **values})
    randomize(model)
    folded = fold_layer_scale(model)
    expected = numpy(model(IMAGES))
    np.testing.assert_allclose(
        numpy(folded(IMAGES)), expected, rtol=0, atol=1e-5 * abs(expected).max()
    )
    assert not factors(folded)
    assert factors(model)
    assert not any("scalar_biases" in weight.path for weight in folded.weights)


def test_a_model_without_factors_is_not_folded():
    model = deit()
    assert fold_layer_scale(model) is model
    assert not folds_layer_scale(model)


def test_a_quantized_model_is_not_folded():
    model = deit(residual="layer_scale")
    model.quantize("int8")
    assert not folds_layer_scale(model)
    with pytest.raises(InputError, match="quantized"):
        fold_layer_scale(model)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"residual": "skip_init"}, "residual 'skip_init'"),
        ({"layer_scale_init": 0.1}, "needs a residual"),
        ({"class_token_at": 4}, "from 0 to 3. Received: 4"),
        ({"class_token_at": 2, "class_depth": 1}, "after all 4 blocks"),
        ({"class_depth": -1}, "0 or more"),
        ({"residual": "fixup", "lsa": True}, "Fixup's"),
    ],
)
def test_bad_values(values, words):
    with pytest.raises(InputError, match=words):
        deit(**values)
