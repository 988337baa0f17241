"""ViT and its hybrids: published counts, initial values, layer groups, errors."""

import numpy as np
import parity_systems
import pytest
from harness import numpy
from vit_model_cases import HYBRID

from keras_deit import InputError, list_models
from keras_deit.models import ViT, abstract_model, get_spec

NAMES = [name for name in list_models() if get_spec(name).family is ViT]
# Parameters with 1,000 classes at 224 pixels, and 10⁹ multiply-adds as the facts have them.
PUBLISHED = {
    "vit_tiny_patch16_224": ("ViT-Ti_16", 1.25),
    "vit_small_patch32_224": ("ViT-S_32", 1.14),
    "vit_small_patch16_224": ("ViT-S_16", 4.60),
    "vit_base_patch32_224": ("ViT-B_32", 4.41),
    "vit_base_patch16_224": ("ViT-B_16", 17.6),
    "vit_base_patch8_224": ("ViT-B_8", 78.2),
    "vit_large_patch16_224": ("ViT-L_16", 61.6),
    "vit_tiny_r_s16_p8_224": ("R+ViT-Ti_16", 0.43),
    "vit_small_r26_s32_224": ("R26+ViT-S_32", 3.46),
    "vit_large_r50_s32_224": ("R50+ViT-L_32", 19.4),
}


def test_every_published_model_has_a_name_at_both_sizes():
    larger = {name.replace("224", "384") for name in PUBLISHED if "patch8" not in name}
    assert {*NAMES} == {*PUBLISHED} | larger


@pytest.mark.parametrize("name", NAMES)
def test_parameters_equal_the_published_ones(name):
    original, _ = PUBLISHED[name.replace("384", "224")]
    side = get_spec(name).image_size
    published = parity_systems.PUBLISHED[f"{original}_{side}px_1000"]["params"]
    assert get_spec(name).parameters == published


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_r26_s32_224"])
def test_parameters_with_the_classes_of_imagenet_21k(name):
    original, _ = PUBLISHED[name]
    model = abstract_model(name, num_classes=21843)
    assert model.count_params() == parity_systems.PUBLISHED[f"{original}_224px_21843"]["params"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_multiply_adds_are_within_a_hundredth_of_the_published_ones(name):
    assert get_spec(name).gmacs == pytest.approx(PUBLISHED[name][1], rel=0.01)


def test_initial_values():
    model = ViT(
        image_size=64,
        patch_size=2,
        embed_dim=64,
        depth=1,
        num_heads=4,
        stem_depths=(1, 1),
        stem_width=64,
        representation_size=96,
        head_bias=-6.9,
        num_classes=10,
    )
    values = {weight.path: numpy(weight) for weight in model.weights}
    deviations = {
        "position_embedding/positions": 0.02,
        "block_0/attention/qkv/kernel": np.sqrt(2 / 128),
        "block_0/attention/projection/kernel": np.sqrt(2 / 128),
        "block_0/mlp/expand/kernel": np.sqrt(2 / 320),
        "block_0/mlp/contract/kernel": np.sqrt(2 / 320),
        "block_0/mlp/expand/bias": 1e-6,
        "patch_embedding/projection/kernel": np.sqrt(1 / (4 * 512)),
        "pre_logits/kernel": np.sqrt(1 / 64),
        "root/conv/kernel": np.sqrt(1 / 147),
        "stage_1_unit_0/conv2/kernel": np.sqrt(1 / (9 * 128)),
    }
    for path, expected in deviations.items():
        held = values[path]
        assert abs(held.std() / expected - 1) < 5 / np.sqrt(2 * held.size), path
    for path in ("class_token/token", "class_head/kernel", "stage_0_unit_0/norm3/gamma"):
        assert not values[path].any(), path
    assert (values["class_head/bias"] == np.float32(-6.9)).all()
    assert (values["stage_0_unit_0/shortcut_norm/gamma"] == 1).all()


def test_the_resnet_is_in_the_first_group_of_layer_decay():
    groups = {layer.name: group for layer, group in HYBRID.build().layer_groups()}
    first = ("root", "stage_0_unit_0", "stage_1_unit_0", "patch_embedding", "class_token")
    assert {groups[name] for name in first} == {0}
    assert [groups[name] for name in ("block_0", "block_1", "class_head")] == [1, 2, 3]


def test_attention_maps_and_patches_of_a_hybrid():
    model = HYBRID.build()
    maps = model.attention_model()(HYBRID.inputs())
    assert {name: tuple(value.shape) for name, value in maps.items()} == {
        f"block_{index}": (3, 2, 9, 9) for index in (0, 1)
    }
    assert model.patch_grid() == (2, 4)


def test_patches_that_are_not_square():
    model = ViT(image_size=(16, 12), patch_size=(4, 6), embed_dim=8, depth=1, num_heads=2)
    assert model.patch_grid() == (4, 2)
    assert model.get_layer("patch_embedding").projection.kernel.shape == (4, 6, 3, 8)
    assert type(model).from_config(model.get_config()).patch_grid() == (4, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_size": 100}, "image_size 100.*patch_size 16.*96.*112"),
        (
            {"image_size": 48, "stem_depths": (1, 1, 1, 1), "patch_size": 1},
            "image_size 48.*the pixels per patch, 32; 32 and 64",
        ),
        ({"patch_size": (16, 15)}, "image_size 224.*patch_size 15"),
        ({"patch_size": (16, 0)}, "patch width should be above 0"),
        ({"pooling": "max"}, "pooling.*max"),
        (
            {"stem_depths": (), "stem_width": 24, "patch_size": 8},
            "channels of a ResNet should be multiples of 32.*24",
        ),
        ({"stem_depths": (1, 1), "stage_channels": (128,)}, "each of the 2 stages.*128"),
        ({"stem_depths": (1,), "stage_channels": (100,)}, "stage_channels.*of 128.*100"),
        ({"stem_depths": (0,)}, "stem_depths should be above 0"),
        (
            {"stem_depths": (), "standardization": "none", "patch_size": 8},
            "standardization.*none",
        ),
        ({"representation_size": 0}, "representation_size should be above 0"),
        ({"embed_dim": 100, "num_heads": 12}, "embed_dim 100.*num_heads 12"),
    ],
    ids=str,
)
def test_impossible_values(values, message):
    with pytest.raises(InputError, match=message) as error:
        ViT(**values)
    assert "\n" not in str(error.value)
