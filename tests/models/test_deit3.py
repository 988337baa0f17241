"""DeiT III: tokens, stochastic depth, stems, parallel blocks, initial values, errors."""

import numpy as np
import pytest
from deit3_model_cases import CASES, DEIT3, HMLP
from deit3_reference import deit3_logits
from harness import layers_in, numpy, randomize, weights_by_path

from keras_deit import InputError, create_model
from keras_deit.layers import StochasticDepth
from keras_deit.models import DeiT3, abstract_model

by_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@by_case
def test_only_patches_have_positions(case):
    model = case.build()
    positions = model.get_layer("position_embedding").positions
    assert tuple(positions.shape) == (1, 2 * 3, 8)
    assert model.get_layer("position_embedding").output.shape[1] == 6
    assert model.get_layer("class_token").output.shape[1] == 7


def test_every_position_and_the_class_token_change_the_logits():
    model = DEIT3.build()
    randomize(model)
    base = numpy(model(DEIT3.inputs()))
    for weight in (
        model.get_layer("position_embedding").positions,
        model.get_layer("class_token").token,
    ):
        values = numpy(weight)
        for row in range(values.shape[1]):
            moved = values.copy()
            moved[0, row] += np.linspace(-1, 1, 8)
            weight.assign(moved)
            assert np.abs(numpy(model(DEIT3.inputs())) - base).max() > 1e-4, (weight.path, row)
        weight.assign(values)


@pytest.mark.parametrize("branches", [1, 2])
def test_drop_path_is_uniform_over_blocks_and_branches(branches):
    model = DEIT3.build(depth=3, drop_path_rate=0.3, branches=branches)
    rates = [layer.rate for layer in layers_in(model) if isinstance(layer, StochasticDepth)]
    assert rates == [0.3] * (3 * 2 * branches)


@by_case
def test_positions_and_class_token_have_no_weight_decay(case):
    paths = {variable.path for variable in case.build().no_weight_decay()}
    assert paths == {"class_token/token", "position_embedding/positions"}


def test_hmlp_model_uses_batch_statistics_in_training():
    model = HMLP.build()
    randomize(model)
    w = weights_by_path(model)
    expected = deit3_logits(HMLP.inputs(), w, depth=2, num_heads=2, training=True)
    logits = numpy(model(HMLP.inputs(), training=True))
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_fit_updates_the_moving_statistics_of_the_hmlp_stem():
    model = HMLP.build()
    before = weights_by_path(model)
    model.compile(optimizer="sgd", loss="mse")
    model.fit(HMLP.inputs(), np.zeros((3, 5)), verbose=0)
    after = weights_by_path(model)
    for number in (1, 2, 3):
        for name in ("moving_mean", "moving_variance"):
            path = f"patch_embedding/norm{number}/{name}"
            assert np.abs(after[path] - before[path]).min() > 0, path


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stem": "conv"}, "stem.*'conv'"),
        ({"stem": "hmlp", "patch_size": 8}, "patch_size.*16.*8"),
        ({"stem": "hmlp", "embed_dim": 6, "num_heads": 2}, "embed_dim.*4.*6"),
        ({"branches": 0}, "branches.*0"),
        ({"num_heads": 7}, "embed_dim 384.*num_heads 7"),
        ({"image_size": 100}, "image_size 100.*patch_size 16.*96.*112"),
    ],
    ids=str,
)
def test_impossible_values(values, message):
    with pytest.raises(InputError, match=message):
        create_model("deit3_small_patch16_224", **values)


def test_parameters_of_the_hmlp_stem():
    """Three convolutions with norms replace the linear projection, 3·16²·D + D."""
    linear = abstract_model("deit3_small_patch16_224").count_params()
    hmlp = abstract_model("deit3_small_patch16_224", stem="hmlp").count_params()
    convolutions = (48 * 96 + 96) + (4 * 96 * 96 + 96) + (4 * 96 * 384 + 384)
    norms = 4 * (96 + 96 + 384)
    assert hmlp - linear == convolutions + norms - (768 * 384 + 384)


def test_initial_values():
    model = DeiT3(image_size=32, embed_dim=64, depth=1, num_heads=2, num_classes=100, branches=2)
    for weight in model.weights:
        values, path = numpy(weight), weight.path
        if path.startswith("patch_embedding"):
            assert 0.9 < np.abs(values).max() * np.sqrt(768) <= 1 + 1e-6
        elif "layer_scale" in path:
            np.testing.assert_array_equal(values, np.float32(1e-4))
        elif path.endswith(("kernel", "token", "positions")):
            assert abs(values.std() / 0.02 - 1) < 5 / np.sqrt(2 * values.size), path
        else:
            np.testing.assert_array_equal(values, float(path.endswith("gamma")), err_msg=path)
