"""Every row of the model table against the model that it builds."""

import functools
from decimal import Decimal

import pytest

from keras_deit import count_macs, list_models
from keras_deit.layers import LayerScale
from keras_deit.models import abstract_model, get_spec

by_name = pytest.mark.parametrize("name", list_models())

# By the authors' code; where they have none, by their rule of depth.
LAYER_SCALE = {
    "resmlp_12_224": 0.1,
    "resmlp_12_patch14_224": 0.1,
    "resmlp_12_patch8_224": 0.1,
    "resmlp_24_224": 1e-5,
    "resmlp_36_224": 1e-6,
    "resmlp_big_24_224": 1e-6,
    "resmlp_big_24_patch16_224": 1e-5,
}


@functools.cache
def outline(name):
    return abstract_model(name)


@by_name
def test_parameters_are_those_of_the_model(name):
    assert outline(name).count_params() == get_spec(name).parameters


@by_name
def test_gmacs_are_those_of_the_model_to_four_digits(name):
    assert float(f"{count_macs(outline(name)) / 1e9:.4g}") == get_spec(name).gmacs


@pytest.mark.parametrize(
    "name", [name for name in list_models() if get_spec(name).published_gmacs is not None]
)
def test_gmacs_are_the_published_ones_within_a_hundredth_and_their_rounding(name):
    spec = get_spec(name)
    last_digit = 10 ** Decimal(str(spec.published_gmacs)).as_tuple().exponent
    tolerance = 0.01 * spec.published_gmacs + last_digit / 2
    assert abs(spec.gmacs - spec.published_gmacs) <= tolerance


@by_name
def test_evaluation_is_that_of_the_authors(name):
    spec = get_spec(name)
    assert spec.name == name
    assert spec.mean == (0.485, 0.456, 0.406)
    assert spec.std == (0.229, 0.224, 0.225)
    assert spec.interpolation == "bicubic"
    assert spec.license == "Apache-2.0"
    assert 0.8 < spec.crop_ratio <= 1
    model = outline(name)
    assert (model.image_format.mean, model.image_format.std) == (spec.mean, spec.std)
    assert model.input_shape == (None, spec.image_size, spec.image_size, 3)
    assert model.output_shape == (None, 1000)


@by_name
def test_what_is_published_of_training(name):
    spec = get_spec(name)
    trainings = [result.training for result in spec.results]
    assert len(set(trainings)) == len(trainings)
    assert len(set(spec.files)) == len(spec.files)
    for result in spec.results:
        assert 50 < result.top1 < 90
        assert result.top5 is None or result.top1 < result.top5 < 100
        assert result.source
    assert spec.source
    assert spec.published_drop_path is None or 0 <= spec.published_drop_path < 1
    assert outline(name).get_config()["drop_path_rate"] == 0


@by_name
def test_every_layer_scale_starts_at_the_value_of_the_row(name):
    scales = {
        layer.initial_value
        for layer in outline(name)._flatten_layers()
        if isinstance(layer, LayerScale)
    }
    expected = get_spec(name).config.get("layer_scale_init")
    assert scales == ({expected} if expected is not None else set())


@pytest.mark.parametrize(
    "name", [name for name in list_models() if name.startswith(("deit", "resmlp"))]
)
def test_layer_scale_is_the_published_one(name):
    config = get_spec(name).config
    if name.startswith("resmlp"):
        assert config["layer_scale_init"] == LAYER_SCALE[name]
    elif name.startswith("deit3") or name.endswith("_LS"):
        assert config["layer_scale_init"] == 1e-4
    else:
        assert config.get("layer_scale_init") is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("deit_huge_patch14_52_LS", "deit_huge_patch14_26x2_LS"),
        ("deit_small_patch16_36_LS", "deit_small_patch16_18x2_LS"),
        ("deit_small_patch16_36", "deit_small_patch16_18x2"),
        ("deit_base_patch16_36x1_LS", "deit_base_patch16_18x2_LS"),
        ("deit_base_patch16_36x1", "deit_base_patch16_18x2"),
    ],
)
def test_blocks_side_by_side_cost_what_they_cost_one_after_the_other(one, other):
    assert get_spec(one).parameters == get_spec(other).parameters
    assert count_macs(outline(one)) == count_macs(outline(other))
    assert get_spec(one).config["depth"] == 2 * get_spec(other).config["depth"]
