"""Token cosine, norms of residual branches and attention distance, against NumPy's."""

import json
import math

import keras
import numpy as np
import pytest
from binary_model_cases import BINARY
from cait_model_cases import CAIT, DISTILLED_CAIT, PATCHCONVNET, TOKEN_PER_CLASS
from cait_reference import cait_blocks, class_attention, talking_heads_attention
from deit3_model_cases import DEIT3, HMLP, PARALLEL
from deit3_reference import branches
from harness import weights_by_path
from model_cases import DISTILLED, PLAIN
from numpy_reference import at, attention_branch, deit_blocks, layer_norm, mlp, mlp_branch
from patchconvnet_reference import conv_branch
from pit_t2t_model_cases import T2T
from resmlp_model_cases import CLASS_MLP, RESMLP
from resmlp_reference import affine, over_tokens
from swin_model_cases import SWIN

from keras_deit import InputError
from keras_deit.evaluation import attention_distance, branch_norms, diagnostics, token_cosine
from keras_deit.layers import TransformerBlock

on_all_backends = pytest.mark.backends("tensorflow", "jax", "torch")


def named(cases, everywhere=None):
    """Names the cases; those that are not in `everywhere`, if it is given, run on TensorFlow."""
    marks = {n: on_all_backends if everywhere is None or n in everywhere else () for n in cases}
    return pytest.mark.parametrize(
        "case", [pytest.param(c, id=n, marks=marks[n]) for n, c in cases.items()]
    )


def cosine(tokens):
    """Computes one image after the other."""
    found = [
        sum(a * b for a, b in zip(x[0], x[1], strict=True))
        / math.sqrt(sum(a * a for a in x[0]) * sum(b * b for b in x[1]))
        for x in tokens
    ]
    return sum(found) / len(found)


@named({"distilled DeiT": DISTILLED, "distilled CaiT": DISTILLED_CAIT})
def test_token_cosine_is_that_of_each_block_with_both_tokens(case):
    model, images = case.build_random(), case.inputs()
    if case is DISTILLED:
        tokens, _ = deit_blocks(images, weights_by_path(model), depth=2, num_heads=2)
    else:
        tokens, _ = cait_blocks(images, weights_by_path(model), 2, class_depth=2, num_heads=2)
    expected = [cosine(x) for name, x in tokens.items() if case is DISTILLED or "class" in name]
    found = token_cosine(model, images)
    assert found.dtype == np.float32 and len(expected) == 2
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_equal_tokens_keep_a_cosine_of_one():
    model = DISTILLED.build_random()
    model.get_layer("distillation_token").set_weights(model.get_layer("class_token").get_weights())
    positions = model.get_layer("position_embedding").weights[0]
    value = keras.ops.convert_to_numpy(positions).copy()
    value[:, 1] = value[:, 0]
    positions.assign(value)
    np.testing.assert_allclose(token_cosine(model, DISTILLED.inputs()), 1, atol=1e-6)


def transformer_branches(x, w):
    added = {
        f"attention{suffix}": (attention_branch(x, own, 2), x)
        for suffix, own in zip(("", "_b"), branches(w), strict=False)
    }
    after = x + sum(branch for branch, _ in added.values())
    return added | {
        f"mlp{suffix}": (mlp_branch(after, own), after)
        for suffix, own in zip(("", "_b"), branches(w), strict=False)
    }


def talking_branches(x, w):
    attended = talking_heads_attention(layer_norm(x, at(w, "norm1")), at(w, "attention"), 2)
    attended = attended * w["layer_scale1/gamma"]
    return {"attention": (attended, x), "mlp": (mlp_branch(x + attended, w), x + attended)}


def class_branches(x, w, heads=2, count=1, patches_only=False):
    normed = layer_norm(x, at(w, "norm1"))
    attended = class_attention(normed, at(w, "attention"), heads, count, patches_only)
    attended, before = attended * w.get("layer_scale1/gamma", 1), x[:, :count]
    after = before + attended
    return {"attention": (attended, before), "mlp": (mlp_branch(after, w), after)}


def mixing_branches(x, w):
    name, count = ("cross_patch", None) if "cross_patch/kernel" in w else ("gather", 1)
    mixed = over_tokens(affine(x, at(w, "norm1")), at(w, name)) * w["layer_scale1/gamma"]
    after = x[:, :count] + mixed
    inner = mlp(affine(after, at(w, "norm2")), at(w, "mlp")) * w["layer_scale2/gamma"]
    return {name: (mixed, x[:, :count]), "mlp": (inner, after)}


def conv_branches(x, w):
    return {"convolution": (conv_branch(x, w), x)}


def branches_of(case, name):
    """Returns the function that computes the branches of a block."""
    if "class" in name and case is not CLASS_MLP:
        per_class = case is TOKEN_PER_CLASS
        count = 5 if per_class else 1 + (case is DISTILLED_CAIT)
        heads = 2 if case in (CAIT, DISTILLED_CAIT) else 1
        return lambda x, w: class_branches(x, w, heads, count, per_class)
    return {
        **dict.fromkeys((CAIT.kind,), talking_branches),
        **dict.fromkeys((PATCHCONVNET.kind,), conv_branches),
        **dict.fromkeys((RESMLP.kind,), mixing_branches),
    }.get(case.kind, transformer_branches)


WITH_BRANCHES = {
    "DeiT": PLAIN,
    "DeiT III with LayerScale": DEIT3,
    "parallel ViT": PARALLEL,
    "distilled CaiT": DISTILLED_CAIT,
    "CaiT": CAIT,
    "ResMLP": RESMLP,
    "class-MLP": CLASS_MLP,
    "PatchConvNet": PATCHCONVNET,
    "PatchConvNet, one token per class": TOKEN_PER_CLASS,
}


@named(WITH_BRANCHES, ("parallel ViT", "CaiT", "class-MLP", "PatchConvNet"))
def test_branch_norms_are_those_of_the_branches_over_what_they_are_added_to(case):
    # LayerScale with other values than 1 and a drop path, which must make no difference.
    drop = {} if case.kind is RESMLP.kind else {"drop_path_rate": 0.5}
    model, images = case.build_random(**drop), case.inputs()
    weights, expected = weights_by_path(model), {}
    before = keras.Model(model.input, {block.name: block.input for block in model.blocks})
    inputs = {k: keras.ops.convert_to_numpy(v) for k, v in before(images).items()}
    for block in model.blocks:
        x = inputs[block.name].astype("float64")
        found = branches_of(case, block.name)(x, at(weights, block.name))
        for name, (branch, main) in found.items():
            ratios = [
                math.sqrt((b**2).sum()) / math.sqrt((m**2).sum())
                for b, m in zip(branch, main, strict=True)
            ]
            expected.setdefault(name, []).append(sum(ratios) / len(ratios))
    received = branch_norms(model, images)
    assert list(received) == list(expected)
    for name, values in expected.items():
        assert received[name].dtype == np.float32
        np.testing.assert_allclose(received[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_block_adds_the_branches_that_it_returns():
    """In mixed precision too, and what a branch adds is what the block computes."""
    for case in (PLAIN, CAIT, RESMLP, CLASS_MLP, PATCHCONVNET, SWIN, T2T, BINARY):
        model = case.build_random()
        for block in (model.blocks[0], model.blocks[-1]):
            x = np.random.default_rng(0).normal(size=(2, *block.input.shape[1:])).astype("float32")
            *_, (branch, main) = block.residual_branches(x).values()
            # In blocks of class tokens, the patches follow and stay as they are.
            total = keras.ops.convert_to_numpy(block(x))[:, : main.shape[1]]
            np.testing.assert_allclose(total, main + branch, atol=1e-6)


def distance_of(maps, grid, size):
    """Computes one pair of patches after the other, as probing-vits defines it: (heads,)."""
    patches = [(row, column) for row in range(grid[0]) for column in range(grid[1])]
    first, total = maps.shape[-1] - len(patches), np.zeros(maps.shape[1])
    for i, (row, column) in enumerate(patches):
        for j, (other_row, other_column) in enumerate(patches):
            far = math.hypot(size[0] * (row - other_row), size[1] * (column - other_column))
            total += maps[:, :, first + i, first + j].mean(axis=0) * far
    return total / len(patches)


@named({"DeiT": PLAIN, "distilled DeiT": DISTILLED, "CaiT": CAIT}, ("distilled DeiT", "CaiT"))
def test_attention_distance_is_the_mean_over_patches(case):
    model, images = case.build_random(), case.inputs()
    reference = deit_blocks if case.kind is PLAIN.kind else cait_blocks
    depths = {"depth": 2} | ({} if reference is deit_blocks else {"class_depth": 2})
    _, maps = reference(images, weights_by_path(model), num_heads=2, **depths)
    expected = [distance_of(m, (3, 2), (4, 4)) for n, m in maps.items() if "class" not in n]
    found = attention_distance(model, images)
    assert len(found) == len(expected) == 2
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_attention_distance_of_parallel_blocks_and_of_more_images_than_a_batch():
    model, images = PARALLEL.build_random(), PARALLEL.inputs()
    found = attention_distance(model, images)
    assert [heads.shape for heads in found] == [(4,), (4,)]
    np.testing.assert_allclose(
        attention_distance(model, np.repeat(images, 7, axis=0)), found, atol=1e-5
    )


def test_attention_distance_of_a_pooled_stage_and_of_other_tokens():
    """A later stage may have a quarter of the patches, as in PiT."""

    class Stages(PLAIN.kind.__mro__[1]):
        def __init__(self, **kwargs):
            images = keras.Input((8, 16, 3))
            x = keras.layers.Conv2D(4, 2, 2, data_format="channels_last")(images)
            x = keras.layers.Reshape((32, 4))(x)
            x = TransformerBlock(2, name="first")(x)
            x = keras.layers.Reshape((4, 8, 4))(x)
            x = keras.layers.AveragePooling2D(2, data_format="channels_last")(x)
            x = TransformerBlock(4, name="second")(keras.layers.Reshape((8, 4))(x))
            x = keras.layers.Dense(3)(x[:, 0])
            super().__init__(images, {"class": x}, **kwargs)

        def patch_grid(self):
            return 4, 8

    model, images = Stages(), np.random.default_rng(0).normal(size=(2, 8, 16, 3))
    found = attention_distance(model, images)
    maps = model.attention_model()(images)
    for block, heads, grid, size in zip(
        ("first", "second"), found, ((4, 8), (2, 4)), ((2, 2), (4, 4)), strict=True
    ):
        expected = distance_of(keras.ops.convert_to_numpy(maps[block]), grid, size)
        np.testing.assert_allclose(heads, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("case", "keys"),
    [
        (PLAIN, {"branch_norms", "attention_distance"}),
        (DISTILLED, {"token_cosine", "branch_norms", "attention_distance"}),
        (HMLP, {"branch_norms", "attention_distance"}),
        (DISTILLED_CAIT, {"token_cosine", "branch_norms", "attention_distance"}),
        (RESMLP, {"branch_norms"}),
        (PATCHCONVNET, {"branch_norms"}),
        (TOKEN_PER_CLASS, {"branch_norms"}),
        (SWIN, {"branch_norms", "attention_distance"}),
    ],
)
def test_diagnostics_are_json_values_of_what_the_model_has(case, keys):
    model, images = case.build_random(), case.inputs()
    found = diagnostics(model, images)
    assert found.keys() == keys
    assert json.loads(json.dumps(found)) == found
    for name, function in (("token_cosine", token_cosine), ("branch_norms", branch_norms)):
        if name in keys:
            expected = keras.tree.map_structure(np.ndarray.tolist, function(model, images))
            assert found[name] == expected


def test_one_block_alone():
    found = diagnostics(DISTILLED.build_random(depth=1), DISTILLED.inputs())
    assert len(found["token_cosine"]) == len(found["attention_distance"]) == 1
    assert [len(values) for values in found["branch_norms"].values()] == [1, 1]


def test_in_mixed_precision_the_figures_are_float32():
    exact = DISTILLED.build_random()
    rounded = DISTILLED.build_random(dtype="mixed_bfloat16")
    rounded.set_weights(exact.get_weights())
    expected, found = (diagnostics(m, DISTILLED.inputs()) for m in (exact, rounded))
    for a, b in zip(keras.tree.flatten(expected), keras.tree.flatten(found), strict=True):
        assert abs(a - b) < 0.05 * abs(a) + 0.02


@pytest.mark.parametrize(
    ("function", "case", "message"),
    [
        (token_cosine, PLAIN, "no distillation token"),
        (attention_distance, PATCHCONVNET, "no self-attention"),
        (attention_distance, RESMLP, "attention_maps"),
        (branch_norms, PLAIN, "height, width, channels"),
        (diagnostics, PLAIN, "height, width, channels"),
    ],
)
def test_what_is_not_there_is_refused(function, case, message):
    images = case.inputs()[0] if "height" in message else case.inputs()
    with pytest.raises(InputError, match=message):
        function(case.build(), images)
