"""PatchConvNet's tokens, rates, names and initial values."""

import numpy as np
import pytest
from cait_model_cases import PATCHCONVNET, TOKEN_PER_CLASS
from harness import numpy, randomize

from keras_deit import InputError
from keras_deit.layers import StochasticDepth
from keras_deit.models import PatchConvNet


def test_drop_path_is_the_same_in_every_block_and_nowhere_in_class_attention():
    model = PATCHCONVNET.build(depth=3, drop_path_rate=0.3)
    rates = [model.get_layer(f"block_{index}").drop_path.rate for index in range(3)]
    assert rates == [0.3, 0.3, 0.3]
    parts = model.get_layer("class_block_0")._flatten_layers()
    assert not any(isinstance(part, StochasticDepth) for part in parts)


@pytest.mark.parametrize("case", [PATCHCONVNET, TOKEN_PER_CLASS])
def test_class_tokens_are_undecayed(case):
    assert {variable.path for variable in case.build().no_weight_decay} == {"class_token/token"}


def test_each_class_of_a_token_per_class_is_scored_by_its_own_token():
    model = TOKEN_PER_CLASS.build()
    randomize(model)
    token = model.get_layer("class_token").token
    assert tuple(token.shape) == (1, 5, 16)
    base, values = numpy(model(TOKEN_PER_CLASS.inputs())), numpy(token)
    for index in range(5):
        moved = values.copy()
        moved[0, index] += np.linspace(-1, 1, 16)
        token.assign(moved)
        change = np.abs(numpy(model(TOKEN_PER_CLASS.inputs())) - base).max(axis=0)
        assert (change > 1e-3).tolist() == [column == index for column in range(5)]


def test_variables_of_a_patchconvnet_are_named_as_the_weight_files_are_mapped():
    paths = {weight.path for weight in PATCHCONVNET.build().weights}
    assert {path for path in paths if path.startswith(("stem", "block_1/"))} == {
        *(f"stem/conv{number}/kernel" for number in (1, 2, 3, 4)),
        *("block_1/norm/gamma", "block_1/norm/beta", "block_1/layer_scale/gamma"),
        *(
            f"block_1/{layer}/{leaf}"
            for layer in (
                *("expand", "depthwise", "contract"),
                *("squeeze_excitation/reduce", "squeeze_excitation/expand"),
            )
            for leaf in ("kernel", "bias")
        ),
    }


def test_initial_values_of_patchconvnet():
    """Of convolutions, 1×1 ones too, uniform within 1/√fan_in; a depthwise filter sees 9."""
    model = PatchConvNet(image_size=32, embed_dim=256, depth=1)
    weights = {weight.path: numpy(weight) for weight in model.weights}
    fan_in = {"stem/conv1": 27, "stem/conv2": 288, "stem/conv3": 576, "stem/conv4": 1152}
    fan_in |= {"block_0/expand": 256, "block_0/depthwise": 9, "block_0/contract": 256}
    fan_in |= {
        f"block_0/squeeze_excitation/{name}": n for name, n in [("reduce", 256), ("expand", 64)]
    }
    for path, values in weights.items():
        layer, leaf = path.rsplit("/", 1)
        if layer in fan_in:
            bound = 1 / np.sqrt(fan_in[layer])
            assert 0.9 * bound < np.abs(values).max() <= bound * (1 + 1e-6), path
        elif leaf in ("kernel", "token"):
            assert abs(values.std() / 0.02 - 1) < 5 / np.sqrt(2 * values.size), path
        elif "layer_scale" in path:
            np.testing.assert_array_equal(values, np.float32(1e-4))
        else:
            np.testing.assert_array_equal(values, float(leaf == "gamma"), err_msg=path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_size": (32, 40)}, "image_size 32×40 is not a multiple of the patch"),
        ({"image_size": 8}, "the patch side 16; 16 and 32 are"),
        ({"embed_dim": 20}, "embed_dim 20 is not a multiple of 8"),
        ({"squeeze_ratio": 0}, "squeeze_ratio should be above 0. Received: 0"),
        ({"depth": 0}, "depth should be above 0. Received: 0"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(values, message):
    with pytest.raises(InputError, match=message) as error:
        PatchConvNet(**values)
    assert "\n" not in str(error.value)
