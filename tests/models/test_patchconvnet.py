"""PatchConvNet: tokens, stochastic depth, names of variables, initial values, errors."""

import numpy as np
import pytest
from cait_model_cases import PATCHCONVNET, TOKEN_PER_CLASS
from harness import layers_in, numpy, randomize

from keras_deit import InputError
from keras_deit.layers import StochasticDepth
from keras_deit.models import PatchConvNet


def test_drop_path_is_uniform_and_class_attention_has_none():
    model = PATCHCONVNET.build(depth=3, drop_path_rate=0.3)
    rates = [model.get_layer(f"block_{index}").drop_path.rate for index in range(3)]
    assert rates == [0.3, 0.3, 0.3]
    parts = layers_in(model.get_layer("class_block_0"))
    assert not any(isinstance(part, StochasticDepth) for part in parts)


@pytest.mark.parametrize("case", [PATCHCONVNET, TOKEN_PER_CLASS])
def test_class_tokens_have_no_weight_decay(case):
    assert {variable.path for variable in case.build().no_weight_decay()} == {"class_token/token"}


def test_with_a_token_per_class_each_class_is_scored_by_its_token():
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


def test_paths_of_the_variables():
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


def test_initial_values():
    """Convolutions, 1×1 ones too, are uniform within 1/√fan_in; that of a depthwise filter is 9."""
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
        ({"image_size": (32, 40)}, "image_size 32×40"),
        ({"image_size": 8}, "image_size 8.*16.*32"),
        ({"embed_dim": 20}, "embed_dim 20.*8"),
        ({"squeeze_ratio": 0}, "squeeze_ratio.*0"),
        ({"depth": 0}, "depth.*0"),
    ],
)
def test_impossible_values(values, message):
    with pytest.raises(InputError, match=message) as error:
        PatchConvNet(**values)
    assert "\n" not in str(error.value)
