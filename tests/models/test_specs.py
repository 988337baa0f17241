"""Every row of the model table agrees with the model that it builds."""

import functools
import math
from decimal import Decimal

import pytest
from harness import layers_in

from keras_deit import count_macs, list_models
from keras_deit.layers import LayerScale
from keras_deit.models import abstract_model, get_spec

# PyTorch builds models fastest, and the counts are the same on every backend.
pytestmark = pytest.mark.backends("torch")

# One small model of each family; the others take half a minute.
FAST = {
    *("deit_tiny_distilled_patch16_224", "deit3_tiny_patch16_224", "cait_xxs24_224"),
    *("vit_tiny_r_s16_p8_224", "resmlp_12_224", "patchconvnet_s20_224", "deit_small_patch16_18x2"),
    "regnety_040",
}
by_name = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in list_models()],
)
# Others are for other data, and have tests of their own.
OF_IMAGENET = [name for name in list_models() if "num_classes" not in get_spec(name).config]
by_name_of_imagenet = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in OF_IMAGENET],
)

# Counted on the authors' modules (github.com/facebookresearch/deit).
PARAMETERS = {
    "deit_tiny_patch16_224": 5_717_416,
    "deit_small_patch16_224": 22_050_664,
    "deit_base_patch16_224": 86_567_656,
    "deit_base_patch16_384": 86_859_496,
    "deit_tiny_distilled_patch16_224": 5_910_800,
    "deit_small_distilled_patch16_224": 22_436_432,
    "deit_base_distilled_patch16_224": 87_338_192,
    "deit_base_distilled_patch16_384": 87_630_032,
}
# From the authors' code; if there is none, from their rule for the depth.
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
def built(name):
    return abstract_model(name)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_deit_are_the_published_ones(name):
    assert get_spec(name).parameters == PARAMETERS[name]


@by_name
def test_parameters_equal_those_of_the_model(name):
    weights = [w for w in built(name).weights if not w.name.startswith("moving_")]
    assert sum(math.prod(w.shape) for w in weights) == get_spec(name).parameters


@by_name
def test_gmacs_equal_those_of_the_model_to_four_digits(name):
    assert float(f"{count_macs(built(name)) / 1e9:.4g}") == get_spec(name).gmacs


@pytest.mark.parametrize(
    "name", [name for name in list_models() if get_spec(name).published_gmacs is not None]
)
def test_gmacs_are_within_a_hundredth_of_the_published_ones(name):
    spec = get_spec(name)
    last_digit = 10 ** Decimal(str(spec.published_gmacs)).as_tuple().exponent
    tolerance = 0.01 * spec.published_gmacs + last_digit / 2
    assert abs(spec.gmacs - spec.published_gmacs) <= tolerance


@by_name_of_imagenet
def test_evaluation_equals_that_of_the_authors(name):
    spec = get_spec(name)
    assert spec.name == name
    half = (0.5, 0.5, 0.5)
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (spec.mean, spec.std) == ((half, half) if name.startswith("vit_") else imagenet)
    assert spec.interpolation == ("bilinear" if name.startswith("resnet") else "bicubic")
    assert spec.license == "Apache-2.0"
    assert 0.8 < spec.crop_ratio <= 1
    model = built(name)
    assert (model.image_format.mean, model.image_format.std) == (spec.mean, spec.std)
    assert model.input_shape == (None, spec.image_size, spec.image_size, 3)
    assert model.output_shape == (None, 1000)


@pytest.mark.parametrize("name", list_models())
def test_published_results(name):
    spec = get_spec(name)
    trainings = [result.training for result in spec.results]
    assert len(set(trainings)) == len(trainings)
    assert len(set(spec.files)) == len(spec.files)
    for result in spec.results:
        assert 45 < result.top1 < 90
        assert result.top5 is None or result.top1 < result.top5 < 100
        assert result.source
    assert spec.source


@by_name
def test_models_have_no_stochastic_depth_of_their_own(name):
    """Its rate belongs to a recipe."""
    assert built(name).get_config()["drop_path_rate"] == 0


@by_name_of_imagenet
def test_layer_scales_start_at_the_value_of_the_row(name):
    scales = {
        layer.initial_value for layer in layers_in(built(name)) if isinstance(layer, LayerScale)
    }
    expected = get_spec(name).config.get("layer_scale_init")
    assert scales == ({expected} if expected is not None else set())


@pytest.mark.parametrize(
    "name", [name for name in list_models() if name.startswith(("deit", "resmlp"))]
)
def test_layer_scale_equals_the_published_one(name):
    config = get_spec(name).config
    if name.startswith("resmlp"):
        assert config["layer_scale_init"] == LAYER_SCALE[name]
    elif name.startswith("deit3") or name.endswith("_LS"):
        assert config["layer_scale_init"] == 1e-4
    else:
        assert config.get("layer_scale_init") is None


@pytest.mark.slow
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
def test_parallel_blocks_cost_as_much_as_sequential_ones(one, other):
    assert get_spec(one).parameters == get_spec(other).parameters
    assert count_macs(built(one)) == count_macs(built(other))
    assert get_spec(one).config["depth"] == 2 * get_spec(other).config["depth"]
