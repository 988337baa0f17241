"""Attention maps against NumPy's, from the same weights."""

import numpy as np
import pytest
from cait_model_cases import CAIT, DISTILLED_CAIT, PATCHCONVNET, TOKEN_PER_CLASS
from cait_reference import cait_blocks
from deit3_model_cases import DEIT3
from harness import numpy, weights_by_path
from model_cases import DISTILLED, PLAIN
from numpy_reference import deit_blocks
from patchconvnet_reference import patchconvnet_blocks
from resmlp_model_cases import RESMLP
from swin_model_cases import STAGES, SWIN
from swin_reference import swin_blocks

from keras_deit import InputError, attention_maps
from keras_deit.evaluation import overlay, saliency


def deit(images, w):
    return deit_blocks(images, w, depth=2, num_heads=2)[1]


def cait(images, w):
    return cait_blocks(images, w, depth=2, class_depth=2, num_heads=2)[1]


def patchconvnet(images, w):
    return patchconvnet_blocks(images, w, depth=2)[1]


REFERENCES = {
    "DeiT": (PLAIN, deit),
    "distilled DeiT": (DISTILLED, deit),
    "CaiT": (CAIT, cait),
    "distilled CaiT": (DISTILLED_CAIT, cait),
    "PatchConvNet": (PATCHCONVNET, patchconvnet),
}


def case_of(name):
    """JAX, which compiles operation by operation, has one model of each kind of attention."""
    marks = pytest.mark.backends("tensorflow", "torch") if name.startswith("distilled") else ()
    return pytest.param(*REFERENCES[name], id=name, marks=marks)


cases = pytest.mark.parametrize(("case", "reference"), [*map(case_of, REFERENCES)])


def rollout_of_one(maps):
    """Multiplies the matrices of one image, token by token."""
    flow = None
    for attention in maps:
        queries, keys = attention.shape[1:]
        matrix = np.zeros((keys, keys))
        for token in range(keys):
            matrix[token, token] = 1
            if token < queries:
                matrix[token] = attention.mean(axis=0)[token] / 2
                matrix[token, token] += 0.5
        np.testing.assert_allclose(matrix.sum(axis=1), 1)
        if flow is None:
            flow = np.eye(keys)
        elif new := keys - len(flow):
            flow = np.block(
                [[np.eye(new), np.zeros((new, len(flow)))], [np.zeros((len(flow), new)), flow]]
            )
        flow = matrix @ flow
    return flow[0]


@pytest.mark.backends("tensorflow", "jax", "torch")
@cases
def test_rollout_is_the_product_of_the_maps_of_all_blocks(case, reference):
    model = case.build_random()
    images = case.inputs()
    by_block = reference(images, weights_by_path(model))
    rows, columns = model.patch_grid()
    expected = [
        rollout_of_one([maps[index] for maps in by_block.values()])[-rows * columns :]
        for index in range(len(images))
    ]
    received = attention_maps(model, images)
    assert received.shape == (3, rows, columns) and received.dtype == np.float32
    np.testing.assert_allclose(received.reshape(3, -1), expected, atol=1e-5)


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_rollout_goes_through_stages():
    """A token of the second stage consists of four of the first. There is no class token, so the
    map is the mean over all tokens."""
    model = SWIN.build_random()
    images = SWIN.inputs()
    _, maps = swin_blocks(images, weights_by_path(model), **STAGES)
    mixed = {name: (m.mean(axis=1) + np.eye(m.shape[2])) / 2 for name, m in maps.items()}
    first, second = (
        mixed[f"stage_{stage}_block_1"] @ mixed[f"stage_{stage}_block_0"] for stage in range(2)
    )
    merging = np.zeros((8, 32))
    for row, column in np.ndindex(4, 8):
        merging[row // 2 * 4 + column // 2, row * 8 + column] = 1 / 4
    expected = (second @ merging @ first).mean(axis=1).reshape(3, 4, 8)
    received = attention_maps(model, images)
    np.testing.assert_allclose(received, expected, atol=1e-6)
    np.testing.assert_allclose(received.sum(axis=(1, 2)), 1, atol=1e-5)
    for name, found in model.attention_model()(images).items():
        np.testing.assert_allclose(numpy(found), maps[name], atol=1e-5)


@pytest.mark.backends("tensorflow", "jax", "torch")
@cases
def test_last_is_the_row_of_the_class_token_in_the_last_block(case, reference):
    model = case.build_random()
    *_, maps = reference(case.inputs(), weights_by_path(model)).values()
    received = attention_maps(model, case.inputs(), kind="last")
    patches = np.prod(model.patch_grid())
    expected = maps[:, :, 0, -patches:]
    np.testing.assert_allclose(received.reshape(expected.shape), expected, atol=1e-5)
    others = maps[:, :, 0, :-patches].sum(axis=-1)
    np.testing.assert_allclose(received.sum(axis=(2, 3)) + others, 1, atol=1e-5)


@pytest.mark.parametrize("case", [DISTILLED, DISTILLED_CAIT])
def test_the_distillation_token_has_maps_of_its_own(case):
    model = case.build_random()
    layer = len(model.blocks) - 2
    name = model.blocks[layer].name
    reference = deit if case is DISTILLED else cait
    maps = reference(case.inputs(), weights_by_path(model))[name]
    received = attention_maps(model, case.inputs(), "distillation", layer)
    expected = maps[:, :, 1, -np.prod(model.patch_grid()) :]
    np.testing.assert_allclose(received.reshape(expected.shape), expected, atol=1e-5)
    assert np.abs(attention_maps(model, case.inputs(), "class", layer) - received).max() > 1e-3


def test_one_token_for_each_class_gives_a_map_for_each_class():
    model = TOKEN_PER_CLASS.build_random()
    images = TOKEN_PER_CLASS.inputs()
    received = attention_maps(model, images, "class")
    assert received.shape == (len(images), model.num_classes, *model.patch_grid())
    np.testing.assert_allclose(received.sum(axis=(2, 3)), 1, atol=1e-5)
    rollout = attention_maps(model, images)
    np.testing.assert_allclose(rollout, received.mean(axis=1) / 2, atol=1e-6)


def test_parallel_branches_and_many_images():
    model = DEIT3.build_random()
    images = np.repeat(DEIT3.inputs(), 7, axis=0)
    received = attention_maps(model, images)
    assert len(received) == len(images)
    np.testing.assert_allclose(received[0], received[6], atol=1e-6)


@pytest.mark.parametrize(
    ("case", "arguments", "message"),
    [
        (PLAIN, {"kind": "rolout"}, "rollout"),
        (PLAIN, {"kind": "distillation"}, "no attention from a distillation token"),
        (SWIN, {"kind": "last"}, "no attention from a class token"),
        (PLAIN, {"kind": "class", "layer": 2}, "blocks 0, 1.*layer=2"),
        (CAIT, {"kind": "class", "layer": 0}, "blocks 2, 3.*layer=0"),
        (PLAIN, {"layer": 1}, "layer is for"),
        (RESMLP, {}, "attention_maps"),
    ],
)
def test_what_is_not_there_is_refused(case, arguments, message):
    with pytest.raises(InputError, match=message):
        attention_maps(case.build(), case.inputs(), **arguments)


@pytest.mark.parametrize(("case", "layer"), [(PLAIN, -1), (CAIT, 2), (PATCHCONVNET, -1)])
def test_saliency_is_the_mean_of_the_heads_in_the_size_of_the_image(case, layer):
    model = case.build_random()
    found = saliency(model, case.inputs())
    assert found.shape == case.inputs().shape[:3]
    assert found.min(axis=(1, 2)).tolist() == [0, 0, 0]
    assert found.max(axis=(1, 2)).tolist() == [1, 1, 1]
    maps = attention_maps(model, case.inputs(), "class", layer).mean(axis=1)
    height, width = model.input_shape[1:3]
    rows, columns = maps.shape[1:]
    blocks = found.reshape(3, rows, height // rows, columns, width // columns).mean(axis=(2, 4))
    for one, other in zip(blocks, maps, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.8


def test_an_overlay_is_yellow_where_the_map_is_large():
    pixels = np.full((32, 32, 3), 128, "uint8")
    values = np.zeros((4, 4), "float32")
    values[:2] = 1
    image = overlay(pixels, values).astype(int)
    assert image.shape == (32, 32, 3)
    top, bottom = image[2].mean(axis=0), image[-3].mean(axis=0)
    assert top[0] > top[2] + 20 and bottom[2] > bottom[0] + 20
    assert (overlay(pixels, np.ones((4, 4), "float32")) == overlay(pixels, values * 0)).all()
