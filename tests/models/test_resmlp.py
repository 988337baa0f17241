"""ResMLP's rates, pooling and counts."""

import keras
import numpy as np
import pytest
from harness import numpy, randomize
from resmlp_model_cases import CLASS_MLP, RESMLP

from keras_deit import InputError, count_macs, create_model
from keras_deit.models import abstract_model
from keras_deit.optimizers import no_weight_decay_variables


def test_drop_path_is_the_same_in_every_block():
    model = RESMLP.build(depth=3, drop_path_rate=0.3)
    for index in range(3):
        block = model.get_layer(f"block_{index}")
        assert block.drop_path1.rate == block.drop_path2.rate == 0.3


def test_nothing_but_vectors_is_spared_from_weight_decay():
    assert RESMLP.build().no_weight_decay == CLASS_MLP.build().no_weight_decay == []
    spared = {variable.path for variable in no_weight_decay_variables(CLASS_MLP.build())}
    assert "class_token/token" not in spared and "class_head/bias" in spared


def test_the_class_blocks_never_change_the_patches():
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


def test_class_mlp_brings_s12_to_the_parameters_of_the_paper():
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
        ({"pooling": "max"}, "pooling should be 'mean' or 'class_mlp'. Received: 'max'"),
        ({"num_heads": 3}, "Unknown value of resmlp_12_224 'num_heads'"),
        ({"depth": 0}, "depth should be above 0. Received: 0"),
        ({"image_size": 100}, "image_size 100 is not a multiple of patch_size 16; 96 and 112 are"),
    ],
    ids=str,
)
def test_what_does_not_fit(values, message):
    with pytest.raises(InputError, match=message):
        create_model("resmlp_12_224", **values)
