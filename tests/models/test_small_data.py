"""ViT and CaiT for small data sets: published counts, initial values, stochastic depth, errors."""

import numpy as np
import pytest
from harness import layers_in, numpy, weights_by_path
from locality_reference import vit_logits
from parity_systems import PUBLISHED
from small_data_model_cases import SL_CAIT, SL_VIT

from keras_deit import InputError, count_macs, create_model
from keras_deit.core.abstract import build_abstract
from keras_deit.layers import LayerScale, StochasticDepth
from keras_deit.models import SmallDataCaiT, SmallDataViT, abstract_model

FAMILIES = {"vit": SmallDataViT, "cait": SmallDataCaiT}
PARTS = {"": {}, "+spt": {"spt": True}, "+lsa": {"lsa": True}, "+spt+lsa": {"spt": 1, "lsa": 1}}
DATA = {
    "32px_10": {"image_size": 32, "patch_size": 4, "num_classes": 10},
    "32px_100": {"image_size": 32, "patch_size": 4, "num_classes": 100},
    "64px_200": {"image_size": 64, "patch_size": 8, "num_classes": 200},
}
# 10⁶ multiply-adds: matrix products alone.
MACS = {
    "vit_small_data_patch4_32": 187.7,
    "sl_vit_patch4_32": 190.1,
    "vit_small_data_patch8_64": 189.5,
    "sl_vit_patch8_64": 199.0,
    "cait_small_data_patch4_32": 595.7,
    "sl_cait_patch4_32": 598.1,
    "cait_small_data_patch8_64": 597.5,
    "sl_cait_patch8_64": 606.9,
}


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.backends("torch")
def test_parameters_are_the_published_ones(family, data):
    for part, values in PARTS.items():
        model = build_abstract(lambda values=values: FAMILIES[family](**DATA[data], **values))
        assert model.count_params() == PUBLISHED[f"{family}{part}_{data}"]["params"]


def test_lsa_has_one_value_for_each_head_of_each_block():
    plain, lsa = (build_abstract(lambda x=x: SmallDataViT(lsa=x)) for x in (False, True))
    assert lsa.count_params() - plain.count_params() == 9 * 12


@pytest.mark.parametrize("name", MACS)
@pytest.mark.backends("torch")
def test_a_name_has_the_cost_and_the_normalization_of_its_data(name):
    model = abstract_model(name)
    assert round(count_macs(model) / 1e6, 1) == MACS[name]
    classes, mean = (10, 0.4914) if name.endswith("32") else (200, 0.4802)
    assert model.num_classes == classes
    assert model.image_format.mean[0] == mean


def test_layer_scale_goes_by_the_number_of_the_block():
    model = build_abstract(lambda: SmallDataCaiT(depth=26))
    values = {
        block.name: {x.initial_value for x in layers_in(block) if isinstance(x, LayerScale)}
        for block in model.blocks
    }
    expected = [0.1] * 18 + [1e-5] * 6 + [1e-6] * 2
    assert values == {
        **{f"block_{index}": {value} for index, value in enumerate(expected)},
        **{f"class_block_{index}": {0.1} for index in range(2)},
    }


@pytest.mark.parametrize("case", [SL_VIT, SL_CAIT], ids=["ViT", "CaiT"])
def test_every_branch_has_the_same_stochastic_depth(case):
    model = case.build(depth=3, drop_path_rate=0.3)
    for block in model.blocks:
        rates = [x.rate for x in layers_in(block) if isinstance(x, StochasticDepth)]
        assert rates == [0.3, 0.3], block.name


@pytest.mark.parametrize("family", FAMILIES.values())
def test_initial_values(family):
    model = family(embed_dim=96, depth=2, num_heads=8, head_dim=12, spt=True, lsa=True)
    for weight in model.weights:
        path, values = weight.path, numpy(weight)
        if path.endswith(("token", "positions")) or "heads_" in path:
            expected = 1.0
        elif path.endswith("kernel"):
            # Xavier's normal distribution.
            expected = np.sqrt(2 / sum(values.shape))
        elif "layer_scale" in path:
            expected = None
            np.testing.assert_array_equal(values, np.float32(0.1))
        else:
            expected = None
            constant = 12**-0.5 if path.endswith("scale") else float(path.endswith("gamma"))
            np.testing.assert_allclose(values, constant, rtol=1e-6, err_msg=path)
        if expected:
            assert abs(values.std() / expected - 1) < 6 / np.sqrt(2 * values.size), path


def test_one_head_as_wide_as_the_tokens_has_no_projection():
    sizes = {"image_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 1}
    alone, wide = (SmallDataViT(**sizes, head_dim=head_dim) for head_dim in (8, 16))
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    expected = vit_logits(images, weights_by_path(alone), depth=1, num_heads=1, side=4)
    np.testing.assert_allclose(numpy(alone(images)), expected, atol=1e-5)
    paths = [{weight.path for weight in model.weights} for model in (alone, wide)]
    assert paths[1] - paths[0] == {
        f"block_0/attention/projection/{leaf}" for leaf in ("kernel", "bias")
    }


@pytest.mark.parametrize("case", [SL_VIT, SL_CAIT], ids=["ViT", "CaiT"])
def test_what_the_rest_of_the_package_asks_is_answered(case):
    model = case.build()
    groups = {layer.name: group for layer, group in model.layer_groups()}
    last = max(groups.values())
    depth = len(model.blocks)
    assert [groups[block.name] for block in model.blocks] == [*range(1, depth + 1)]
    assert {groups[x] for x in ("patch_embedding", "position_embedding", "class_token")} == {0}
    assert groups["class_head"] == groups["norm"] == last == depth + 1
    paths = {variable.path for variable in model.no_weight_decay()}
    assert paths == {"class_token/token", "position_embedding/positions"}
    norms = model.branch_model()(case.inputs())
    assert norms.keys() == {block.name for block in model.blocks}
    for of_block in norms.values():
        assert of_block.keys() == {"attention", "mlp"}
        assert all((numpy(norm) > 0).all() for norm in of_block.values())


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("sl_vit_patch4_32", {"image_size": 30}, "image_size 30.*patch_size 4.*28.*32"),
        ("sl_cait_patch4_32", {"image_size": (32, 30)}, "image_size 32×30.*patch_size 4"),
        ("sl_vit_patch4_32", {"patch_size": 1}, "patch_size should be 2 or more"),
        ("sl_cait_patch4_32", {"patch_size": 1}, "patch_size should be 2 or more"),
        ("sl_cait_patch4_32", {"diagonal": "none"}, "diagonal 'none'.*masked"),
        ("sl_vit_patch4_32", {"head_dim": 0}, "head_dim.*0"),
        ("sl_vit_patch4_32", {"diagonal": "zero"}, "diagonal"),
    ],
)
def test_impossible_values(name, values, message):
    with pytest.raises(InputError, match=message) as error:
        create_model(name, depth=1, **values)
    assert "\n" not in str(error.value)
