"""DeiT: tokens, heads, stochastic depth, weight decay, initial values."""

import numpy as np
import pytest
from harness import numpy, randomize, weights_by_path
from model_cases import DISTILLED, PLAIN
from numpy_reference import deit_heads

from keras_deit.core.image_format import ImageFormat
from keras_deit.models import DeiT


def test_heads_equal_numpy_and_the_logits_are_their_mean():
    model = DISTILLED.build()
    randomize(model)
    inputs = DISTILLED.inputs()
    expected = deit_heads(inputs, weights_by_path(model), depth=2, num_heads=2)
    heads = model.heads(inputs)
    assert list(heads) == ["class", "distillation"]
    for name, logits in heads.items():
        np.testing.assert_allclose(numpy(logits), expected[name], rtol=1e-5, atol=1e-5)
    mean = (numpy(heads["class"]) + numpy(heads["distillation"])) / 2
    np.testing.assert_allclose(numpy(model(inputs)), mean, rtol=1e-6, atol=1e-6)


def test_heads_of_a_plain_model_are_its_logits():
    model = PLAIN.build()
    inputs = PLAIN.inputs()
    heads = model.heads
    randomize(model)
    assert list(heads.output) == ["class"]
    np.testing.assert_array_equal(numpy(heads(inputs)["class"]), numpy(model(inputs)))
    assert {id(weight) for weight in heads.weights} == {id(weight) for weight in model.weights}


def test_every_row_of_the_positions_changes_the_logits():
    """The rows of the class token and of the distillation token too."""
    model = DISTILLED.build()
    randomize(model)
    base = numpy(model(DISTILLED.inputs()))
    positions = model.get_layer("position_embedding").positions
    assert tuple(positions.shape) == (1, 2 + 3 * 2, 8)
    values = numpy(positions)
    for row in range(values.shape[1]):
        moved = values.copy()
        moved[0, row] += np.linspace(-1, 1, 8)
        positions.assign(moved)
        assert np.abs(numpy(model(DISTILLED.inputs())) - base).max() > 1e-3, row


@pytest.mark.parametrize(
    ("depth", "rate", "expected"),
    [(5, 0.2, [0, 0.05, 0.1, 0.15, 0.2]), (1, 0.2, [0]), (3, 0.0, [0, 0, 0])],
)
def test_drop_path_grows_linearly_from_0(depth, rate, expected):
    model = DISTILLED.build(depth=depth, drop_path_rate=rate)
    blocks = [model.get_layer(f"block_{index}") for index in range(depth)]
    np.testing.assert_allclose([block.drop_path_rate for block in blocks], expected, atol=1e-12)
    for block in blocks:
        for branch in (block.attention_branch, block.mlp_branch):
            assert branch[-1].rate == block.drop_path_rate


def test_positions_and_class_token_have_no_weight_decay():
    model = DISTILLED.build()
    paths = {variable.path for variable in model.no_weight_decay()}
    assert paths == {"class_token/token", "position_embedding/positions"}


def test_input_output_and_image_format():
    model = DISTILLED.build()
    assert model.input_shape == (None, 12, 8, 3)
    assert model.input.name == "image"
    assert model.output_shape == (None, 5)
    assert model.num_classes == 5
    assert model.image_format == ImageFormat(
        height=12, width=8, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )


def test_initial_values():
    model = DeiT(image_size=32, patch_size=8, embed_dim=64, depth=1, num_heads=2, distilled=True)
    weights = {weight.path: numpy(weight) for weight in model.weights}
    bound = 1 / np.sqrt(8 * 8 * 3)
    for name in ("kernel", "bias"):
        values = weights.pop(f"patch_embedding/projection/{name}")
        assert 0.9 * bound < np.abs(values).max() <= bound * (1 + 1e-6)
    for path, values in weights.items():
        if path.endswith(("kernel", "token", "positions")):
            deviations = 5 / np.sqrt(2 * values.size)
            assert abs(values.std() / 0.02 - 1) < deviations, path
        else:
            np.testing.assert_array_equal(values, float(path.endswith("gamma")), err_msg=path)
