"""ResMLP: stochastic depth, weight decay, pooling, counts, errors."""

import keras
import numpy as np
import pytest
from harness import numpy, randomize
from resmlp_model_cases import CLASS_MLP, RESMLP

from keras_deit import InputError, count_macs, create_model
from keras_deit.models import abstract_model


def test_drop_path_is_uniform():
    model = RESMLP.build(depth=3, drop_path_rate=0.3)
    for index in range(3):
        block = model.get_layer(f"block_{index}")
        assert block.drop_path1.rate == block.drop_path2.rate == 0.3


@pytest.mark.parametrize("case", [RESMLP, CLASS_MLP])
def test_everything_but_vectors_has_weight_decay(case):
    assert case.build().no_weight_decay() == []


def test_the_class_blocks_do_not_change_the_patches():
    model = CLASS_MLP.build()
    randomize(model)
    blocks = [model.get_layer(f"class_block_{index}") for index in range(2)]
    inputs = blocks[0].input
    probe = keras.Model(model.input, [inputs, *(block.output for block in blocks)])
    before, *after = (numpy(tokens) for tokens in probe(CLASS_MLP.inputs()))
    for tokens in after:
        np.testing.assert_array_equal(tokens[:, 1:], before[:, 1:])
        assert np.abs(tokens[:, 0] - before[:, 0]).max() > 0.01
        before = tokens


def test_s12_with_class_mlp_has_the_parameters_of_the_paper():
    model = abstract_model("resmlp_12_224", pooling="class_mlp")
    width, tokens = 384, 197
    mlp = 2 * width * 4 * width + 4 * width + width
    block = (tokens + 1) + 2 * 2 * width + 2 * width + mlp
    assert model.count_params() == 15_350_872 + width + 2 * block == 17_719_396
    assert round(model.count_params() / 1e6, 1) == 17.7
    plain = count_macs(abstract_model("resmlp_12_224"))
    assert count_macs(model) - plain == 2 * (tokens * width + 2 * width * 4 * width)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pooling": "max"}, "pooling.*'max'"),
        ({"num_heads": 3}, "resmlp_12_224 'num_heads'"),
        ({"depth": 0}, "depth.*0"),
        ({"image_size": 100}, "image_size 100.*patch_size 16.*96.*112"),
    ],
    ids=str,
)
def test_impossible_values(values, message):
    with pytest.raises(InputError, match=message):
        create_model("resmlp_12_224", **values)
