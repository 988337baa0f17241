"""PiT and T2T for small data sets: stages, positions, files, initial values and bad input."""

import numpy as np
import pytest
from harness import layers_in, numpy, weights_by_path
from parity_systems import CASES
from pit_reference import pit_blocks
from pit_t2t_model_cases import PIT, PIT_FORM, T2T
from safetensors.numpy import load_file, save_file

from keras_deit import InputError, attention_maps, create_model
from keras_deit.evaluation import attention_distance, saliency
from keras_deit.layers.positions import resize_positions
from keras_deit.layers.tokens_to_token import sinusoids
from keras_deit.models import SmallDataPiT, abstract_model, get_spec
from keras_deit.optimizers.param_groups import learning_rate_factors
from keras_deit.pretrained import load_pretrained, save_safetensors

# At 64 pixels in the paper's table, millions; it counts more than matrix products and convolutions.
PUBLISHED_MACS = {
    "pit_small_data_patch4_64": 279.2,
    "sl_pit_patch4_64": 322.9,
    "t2t_small_data_64": 643.0,
    "sl_t2t_64": 671.4,
}


@pytest.mark.parametrize("name", PUBLISHED_MACS)
def test_multiply_adds_are_the_published_ones_by_the_authors_rule(name):
    """They count a norm as one for each number, the patch embedding of PiT as one of twice the
    side, and the projection of a token transformer as one from its wide input."""
    model = abstract_model(name)
    norms = [layer for layer in layers_in(model) if layer.name.startswith("norm")]
    widths = {id(norm): norm.gamma.shape[0] for norm in norms}
    extra = 0
    for layer in model.layers:
        inside = [norm for norm in (layer, *layers_in(layer)) if id(norm) in widths]
        length = 1 if layer.name == "norm" else layer.output.shape[1]
        extra += length * sum(widths[id(norm)] for norm in inside)
        if layer.name.startswith("token_transformer"):
            width, wide = layer.output.shape[-1], layer.input.shape[-1]
            extra += length * width * (wide - width)
    if name == "pit_small_data_patch4_64":
        extra += 3 * 256 * 4**2 * 3 * 96
    assert (model.macs() + extra) / 1e6 == pytest.approx(PUBLISHED_MACS[name], abs=0.06)


def patch_matrix(rows, columns):
    """Returns how much of each old patch each new one consists of, and the class token."""
    matrix = np.zeros((1 + rows * columns // 4, 1 + rows * columns))
    matrix[0, 0] = 1
    for row, column in np.ndindex(rows, columns):
        matrix[1 + row // 2 * (columns // 2) + column // 2, 1 + row * columns + column] = 1 / 4
    return matrix


def test_rollout_goes_through_the_stages_of_pit():
    model = PIT.build_random()
    images = PIT.inputs()
    _, maps = pit_blocks(images, weights_by_path(model), **PIT_FORM)
    first, second, third = ((m.mean(axis=1) + np.eye(m.shape[2])) / 2 for m in maps.values())
    flow = third @ second @ patch_matrix(6, 4) @ first
    received = attention_maps(model, images)
    np.testing.assert_allclose(received, flow[:, 0, 1:].reshape(3, 6, 4), atol=1e-6)
    last = attention_maps(model, images, "class", 2)
    expected = maps["stage_1_block_1"][:, :, 0, 1:].reshape(3, 4, 3, 2)
    np.testing.assert_allclose(last, expected, atol=1e-6)
    assert saliency(model, images).shape == (3, 12, 8)
    assert [len(heads) for heads in attention_distance(model, images)] == [2, 4, 4]


def test_a_pooling_of_odd_sides_counts_half_of_what_it_shares():
    model = PIT.build_random(image_size=(6, 4))
    maps = attention_maps(model, PIT.inputs(image_size=(6, 4)))
    assert maps.shape == (3, 3, 2)
    flow = np.concatenate([model.blocks[0].input.shape[1:2], maps.sum(axis=(1, 2))])
    assert (flow[1:] < 1).all()
    found = model.forward_features(PIT.inputs(image_size=(6, 4)), intermediates=(0, 1))
    assert found.grid == (2, 1)
    assert [tuple(x.shape) for x in found.intermediates.values()] == [(3, 3, 2, 6), (3, 2, 1, 12)]


def test_the_tokens_of_t2t_have_the_grid_of_their_split():
    model = T2T.build_random(lsa=True)
    images = T2T.inputs()
    found = model.forward_features(images, intermediates=(0, 1))
    assert found.grid == (3, 2) and found.tokens.shape == (3, 7, 8)
    assert [tuple(x.shape) for x in found.intermediates.values()] == [(3, 6, 4, 4), (3, 3, 2, 8)]
    assert attention_maps(model, images).shape == (3, 6, 4)
    assert attention_maps(model, images, "last").shape == (3, 2, 3, 2)
    with pytest.raises(InputError, match="in its blocks 1, 2"):
        attention_maps(model, images, "class", 0)
    # The class token comes late here, but it attends like the patches.
    scaled = attention_maps(model, images, "last").mean(axis=1)
    assert saliency(model, images)[0].argmax() // 8 // 4 == scaled[0].argmax() // 2
    assert [len(heads) for heads in attention_distance(model, images)] == [1, 2, 2]


@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.parametrize("case", [PIT, T2T], ids=["PiT", "T2T"])
def test_no_token_attends_to_itself_with_lsa(case):
    model = case.build_random(lsa=True)
    for found in model.attention_model()(case.inputs()).values():
        maps = numpy(found)
        assert (np.diagonal(maps, axis1=2, axis2=3) == 0).all()
        np.testing.assert_allclose(maps.sum(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("case", [PIT, T2T], ids=["PiT", "T2T"])
def test_weights_for_another_image_size(case, tmp_path):
    """Positions of PiT are resized, those of T2T are computed anew; all else is the same."""
    model = case.build_random()
    table = model.get_layer("position_embedding").positions
    if case is T2T:
        table.assign(sinusoids(*table.shape[1:]))
    path = tmp_path / "a.safetensors"
    save_safetensors(model, path)
    larger = case.build(image_size=(16, 24))
    load_pretrained(larger, path)
    for own, other in zip(model.weights, larger.weights, strict=True):
        if own is not table:
            np.testing.assert_array_equal(numpy(own), numpy(other))
    found = numpy(larger.get_layer("position_embedding").positions)
    if case is T2T:
        np.testing.assert_array_equal(found, sinusoids(1 + 4 * 6, 8))
    else:
        np.testing.assert_allclose(found, resize_positions(numpy(table), (6, 4), (8, 12)))


@pytest.mark.parametrize("name", ["pit_small_data", "sl_pit", "sl_t2t"])
def test_files_are_written_as_the_authors_write_them(name, tmp_path):
    if name not in CASES:
        pytest.skip(f"needs the case {name}")
    case = CASES[name]
    sizes = {"image_size": case.arguments["img_size"], "num_classes": 5}
    if "pit" in name:
        model_name = name.replace("sl_pit", "sl_pit_patch2_32").replace("data", "data_patch2_32")
        sizes |= {"embed_dim": 12, "depth": (1, 2, 1), "head_dim": 6}
    else:
        model_name = "sl_t2t_32"
        sizes |= {"embed_dim": 24, "token_dim": 8, "depth": 2, "num_heads": 3}
    save_file(case.tensors, tmp_path / "theirs.safetensors")
    model = create_model(model_name, tmp_path / "theirs.safetensors", **sizes)
    save_safetensors(model, tmp_path / "ours.safetensors")
    ours = load_file(tmp_path / "ours.safetensors")
    # T2T's norm that is never called.
    assert set(case.tensors) - set(ours) <= set(case.spec.get("no_effect", ()))
    for tensor, value in ours.items():
        np.testing.assert_array_equal(value, case.tensors[tensor], err_msg=tensor)


def test_files_of_another_model_are_refused(tmp_path):
    save_safetensors(PIT.build_random(), tmp_path / "pit.safetensors")
    save_safetensors(T2T.build_random(), tmp_path / "t2t.safetensors")
    with pytest.raises(InputError, match=r"holds a PiT for small data sets; .* is a T2T-ViT"):
        load_pretrained(T2T.build(), tmp_path / "pit.safetensors")
    with pytest.raises(InputError, match=r"holds a T2T-ViT; .* is a PiT for small data sets"):
        load_pretrained(PIT.build(), tmp_path / "t2t.safetensors")
    with pytest.raises(InputError, match=r"it holds a PiT .*, the model is a S-PiT"):
        load_pretrained(PIT.build(spt=True), tmp_path / "pit.safetensors")


def test_groups_of_layer_wise_decay():
    """Poolings belong to the block that follows, the token transformer is the first one."""
    factors = learning_rate_factors(PIT.build(spt=True), 0.5)
    assert factors["patch_embedding/projection/kernel"] == factors["class_token/token"] == 0.5**4
    assert factors["stage_0_block_0/attention/qkv/kernel"] == 0.5**3
    assert (
        factors["pooling_0/class_projection/bias"] == factors["stage_1_block_0/norm1/beta"] == 0.25
    )
    assert factors["class_head/kernel"] == 1
    factors = learning_rate_factors(T2T.build(), 0.5)
    assert factors["token_transformer_1/mlp/expand/kernel"] == 0.5**3
    assert factors["patch_projection/kernel"] == factors["block_0/norm1/gamma"] == 0.25
    assert "position_embedding/positions" not in factors


def test_initial_values_are_the_authors():
    model = SmallDataPiT(depth=(1, 1), num_heads=(2, 4), lsa=True)
    deviations = {
        "class_token/token": 1.0,
        "position_embedding/positions": 1.0,
        # Xavier's normal distribution as PyTorch counts inputs and outputs.
        "patch_embedding/projection/kernel": (2 / (4 * (3 + 96))) ** 0.5,
        "pooling_0/depthwise/kernel": (2 / (9 * (1 + 192))) ** 0.5,
        "pooling_0/pointwise/kernel": (2 / (192 + 192)) ** 0.5,
        "stage_1_block_0/attention/qkv/kernel": (2 / (192 + 576)) ** 0.5,
    }
    for path, deviation in deviations.items():
        (variable,) = (weight for weight in model.weights if weight.path == path)
        assert numpy(variable).std() == pytest.approx(deviation, rel=0.2), path
    scale = next(weight for weight in model.weights if weight.path.endswith("attention/scale"))
    np.testing.assert_allclose(numpy(scale), 48**-0.5, rtol=1e-6)
    token_scales = {
        weight.path: float(numpy(weight)[0])
        for weight in create_model("sl_t2t_64", depth=1).weights
        if weight.path.endswith("attention/scale")
    }
    assert token_scales == pytest.approx(
        {
            "token_transformer_1/attention/scale": 135**-0.5,
            "token_transformer_2/attention/scale": 576**-0.5,
            "block_0/attention/scale": 64**-0.5,
        }
    )


def test_stochastic_depth_grows_linearly_in_t2t_and_is_constant_in_pit():
    model = abstract_model("t2t_small_data_32", depth=3, drop_path_rate=0.2)
    assert [block.drop_path_rate for block in model.blocks] == [0, 0, 0.1, 0.2]
    model = abstract_model("pit_small_data_patch2_32", drop_path_rate=0.2)
    assert {block.drop_path_rate for block in model.blocks} == {0.2}


@pytest.mark.parametrize(
    ("image_size", "splits"), [(32, 2), (64, 3), ((64, 64), 3), ((64, 32), 2), (128, 2)]
)
def test_soft_splits_are_three_at_64_pixels_and_two_otherwise(image_size, splits):
    model = abstract_model("t2t_small_data_32", image_size=image_size)
    assert len([layer for layer in model.layers if "soft_split" in layer.name]) == splits
    assert get_spec("t2t_small_data_32").config.get("soft_splits") is None


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("pit_small_data_patch2_32", {"image_size": 33}, "image_size 33 .*patch_size 2; 32 and 34"),
        ("sl_pit_patch2_32", {"image_size": 36}, "image_size 36 .*spt needs for 2 poolings.* 32"),
        ("sl_pit_patch2_32", {"patch_size": 1}, "patch_size should be 2 or more for SPT"),
        ("sl_pit_patch2_32", {"depth": 6}, "depth should have a number for each stage.*depth=6"),
        ("sl_pit_patch2_32", {"num_heads": (2, 4)}, r"num_heads=\(2, 4\)"),
        ("sl_pit_patch2_32", {"depth": (2, 0, 2)}, r"depth\[1\] should be above 0"),
        ("sl_pit_patch2_32", {"dropout_rate": 1.5}, "dropout_rate"),
        ("t2t_small_data_32", {"image_size": 30}, "image_size 30 .*stride of 2 soft splits, 4; 28"),
        ("t2t_small_data_64", {"image_size": (64, 60), "soft_splits": 3}, "64×60 .*3 soft splits"),
        ("t2t_small_data_32", {"soft_splits": 2.5}, "soft_splits should be a whole number"),
        ("t2t_small_data_32", {"num_heads": 3}, "embed_dim 256, .*num_heads 3"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(name, values, message):
    with pytest.raises(InputError, match=message) as error:
        abstract_model(name, **values)
    assert "\n" not in str(error.value)
