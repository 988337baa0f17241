"""CaiT: heads, stochastic depth, weight decay, names of variables, initial values, errors."""

import numpy as np
import pytest
from cait_model_cases import CAIT, DISTILLED_CAIT
from cait_reference import cait_heads
from harness import layers_in, numpy, randomize, weights_by_path

from keras_deit import InputError
from keras_deit.layers import StochasticDepth
from keras_deit.models import CaiT


def test_heads_of_distilled_cait_equal_numpy_and_the_logits_are_their_mean():
    model = DISTILLED_CAIT.build()
    randomize(model)
    inputs = DISTILLED_CAIT.inputs()
    expected = cait_heads(inputs, weights_by_path(model), depth=2, class_depth=2, num_heads=2)
    heads = model.heads(inputs)
    assert list(heads) == ["class", "distillation"]
    for name, logits in heads.items():
        np.testing.assert_allclose(numpy(logits), expected[name], rtol=1e-5, atol=1e-5)
    mean = (numpy(heads["class"]) + numpy(heads["distillation"])) / 2
    np.testing.assert_allclose(numpy(model(inputs)), mean, rtol=1e-6, atol=1e-6)


def test_drop_path_is_uniform_and_class_attention_has_none():
    model = CAIT.build(depth=3, drop_path_rate=0.3)
    for index in range(3):
        block = model.get_layer(f"block_{index}")
        assert [block.attention_branch[-1].rate, block.mlp_branch[-1].rate] == [0.3, 0.3]
    for index in range(2):
        parts = layers_in(model.get_layer(f"class_block_{index}"))
        assert not any(isinstance(part, StochasticDepth) for part in parts)


@pytest.mark.parametrize("case", [CAIT, DISTILLED_CAIT])
def test_positions_and_class_token_have_no_weight_decay(case):
    paths = {variable.path for variable in case.build().no_weight_decay()}
    assert paths == {"class_token/token", "position_embedding/positions"}


def test_paths_of_the_variables():
    paths = {weight.path for weight in DISTILLED_CAIT.build().weights}
    assert {path for path in paths if path.startswith("block_1/attention")} == {
        f"block_1/attention/{layer}/{leaf}"
        for layer in ("qkv", "projection", "heads_before_softmax", "heads_after_softmax")
        for leaf in ("kernel", "bias")
    }
    assert {path for path in paths if path.startswith("class_block_1/")} == {
        *(
            f"class_block_1/{layer}/{leaf}"
            for layer in (
                *(f"attention/{name}" for name in ("query", "key", "value", "projection")),
                *("mlp/expand", "mlp/contract"),
            )
            for leaf in ("kernel", "bias")
        ),
        *(f"class_block_1/norm{half}/{leaf}" for half in (1, 2) for leaf in ("gamma", "beta")),
        *(f"class_block_1/layer_scale{half}/gamma" for half in (1, 2)),
    }


def test_initial_values():
    model = CaiT(image_size=32, patch_size=8, embed_dim=64, depth=1, num_heads=8, distilled=True)
    for path, values in ((weight.path, numpy(weight)) for weight in model.weights):
        if path.startswith("patch_embedding"):
            continue
        if path.endswith(("kernel", "token", "positions")):
            assert abs(values.std() / 0.02 - 1) < 5 / np.sqrt(2 * values.size), path
        elif "layer_scale" in path:
            np.testing.assert_array_equal(values, np.float32(1e-5))
        else:
            np.testing.assert_array_equal(values, float(path.endswith("gamma")), err_msg=path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"class_depth": 0}, "class_depth.*0"),
        ({"embed_dim": 50}, "embed_dim 50.*num_heads 8"),
        ({"image_size": 100}, "image_size 100.*patch_size 16.*96.*112"),
    ],
)
def test_impossible_values(values, message):
    with pytest.raises(InputError, match=message) as error:
        CaiT(**values)
    assert "\n" not in str(error.value)
