"""Models by name: what is listed, what is built, what is refused."""

import re

import keras
import pytest

from keras_deit import InputError, create_model, list_models
from keras_deit.core.precision import precision
from keras_deit.models import abstract_model, get_spec, model_table, model_values

TINY = "deit_tiny_patch16_224"


def test_list_models():
    assert list_models() == sorted(list_models())
    assert list_models("deit_*_patch16_???") == sorted(
        f"deit_{name}"
        for name in (
            "tiny_patch16_224",
            "small_patch16_224",
            "base_patch16_224",
            "base_patch16_384",
            "tiny_distilled_patch16_224",
            "small_distilled_patch16_224",
            "base_distilled_patch16_224",
            "base_distilled_patch16_384",
        )
    )
    assert list_models("deit*base*distilled*") == [
        "deit_base_distilled_patch16_224",
        "deit_base_distilled_patch16_384",
    ]
    assert list_models("resnet*") == []


def test_list_models_filters():
    names = {name: get_spec(name) for name in list_models()}

    def chosen(condition):
        return [name for name, spec in names.items() if condition(spec)]

    assert list_models(image_size=384) == chosen(lambda spec: spec.config["image_size"] == 384)
    assert list_models(max_parameters=23e6) == chosen(lambda spec: spec.parameters <= 23e6)
    assert list_models(released=True) == chosen(lambda spec: spec.files)
    assert list_models(released=False) == chosen(lambda spec: not spec.files)
    assert list_models("deit_*", image_size=384, max_parameters=87e6) == ["deit_base_patch16_384"]


def test_list_models_shows_the_table(capsys):
    names = list_models("deit_tiny*", show=True)
    printed = capsys.readouterr().out
    assert printed == model_table(names) + "\n"
    assert [line.split("|")[1].strip(" `") for line in printed.splitlines()[2:]] == [
        "deit_tiny_patch16_224",
        "deit_tiny_distilled_patch16_224",
    ]
    cells = [cell.strip() for cell in printed.splitlines()[2].strip("|").split("|")]
    assert cells[1:] == [
        "224",
        "5,717,416",
        "1.254",
        "0.875",
        "72.2 (1k)",
        "`deit_tiny_patch16_224-a1311bcf.pth`",
    ]


def test_names_and_specs_agree():
    for name in list_models("deit_*_patch16_???"):
        spec = get_spec(name)
        assert spec.config["distilled"] == ("_distilled_" in name)
        assert name.endswith(f"_patch{spec.config['patch_size']}_{spec.config['image_size']}")


def test_values_are_the_published_ones_unless_overridden():
    model = create_model(TINY)
    published = {"embed_dim": 192, "depth": 12, "num_heads": 3, "mlp_ratio": 4.0, "qkv_bias": True}
    published |= {"image_size": 224, "patch_size": 16, "num_classes": 1000, "distilled": False}
    published |= {"drop_path_rate": 0.0, "dropout_rate": 0.0}
    common = {"name": TINY, "trainable": True, "dtype": "float32"}
    assert model_values(TINY) == published
    assert model.get_config() == {**published, **common}
    overrides = {"image_size": (8, 16), "depth": 1, "mlp_ratio": 2.0, "drop_path_rate": 0.3}
    changed = create_model(TINY, num_classes=7, patch_size=8, distilled=True, **overrides)
    expected = {**published, **overrides, "num_classes": 7, "patch_size": 8, "distilled": True}
    assert changed.get_config() == {**expected, **common}
    assert set(changed.heads.output) == {"class", "distillation"}


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("deit_tiny_patch16_244", {}, "Unknown model 'deit_tiny_patch16_244'. Close names: deit_t"),
        ("DeiT_Base_patch16_384", {}, "Close names: deit_base_patch16_384"),
        (TINY, {"depht": 3}, f"Unknown value of {TINY} 'depht'. Close names: depth"),
        (TINY, {"image_size": 100}, "image_size 100 is not a multiple of patch_size 16; 96 and 11"),
        (TINY, {"image_size": (96, 100)}, "image_size 96×100 is not a multiple of patch_size 16"),
        (TINY, {"image_size": 8}, "image_size 8 is not a multiple of patch_size 16; 16 and 32 are"),
        (TINY, {"image_size": 0}, "image_size 0 is not a multiple of patch_size 16; 16 and 32 are"),
        (
            TINY,
            {"image_size": "64"},
            "image_size should be a side in pixels or (height, width), wh",
        ),
        (TINY, {"image_size": 64.0}, "whole numbers. Received: 64.0"),
        (TINY, {"image_size": (64,)}, "whole numbers. Received: (64,)"),
        (TINY, {"image_size": (64, 64, 3)}, "whole numbers. Received: (64, 64, 3)"),
        (TINY, {"depth": 1.5}, "depth should be a whole number. Received: 1.5"),
        (
            TINY,
            {"depth": 1, "drop_path_rate": -0.1},
            "drop_path_rate should be in [0, 1). Received",
        ),
        (TINY, {"num_heads": 5}, "embed_dim 192 is not a multiple of num_heads 5"),
        (TINY, {"drop_path_rate": 1.0}, "should be in [0, 1). Received: 1.0"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(name, values, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        create_model(name, **values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "size", ["patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "num_classes"]
)
@pytest.mark.parametrize("value", [0, -4])
def test_sizes_are_above_zero(size, value):
    with pytest.raises(InputError, match=f"{size} should be above 0. Received: {value}"):
        create_model("deit_tiny_patch16_224", **{size: value})


def test_an_outline_never_gets_memory():
    outline = abstract_model("deit_tiny_patch16_224")
    # When a stateless scope ends, Keras initializes whatever variables of its thread are not yet.
    with keras.StatelessScope():
        created = keras.layers.Dense(2)
        created.build((None, 3))
    assert created.kernel._value is not None
    assert all(variable._value is None for variable in outline.variables)
    assert outline.count_params() == 5_717_416


def test_an_outline_follows_the_policy_that_is_set():
    with precision("mixed_bfloat16"):
        assert abstract_model("deit_tiny_patch16_224").dtype_policy.name == "mixed_bfloat16"
    with pytest.raises(InputError, match="Unknown model"):
        abstract_model("deit_huge")
