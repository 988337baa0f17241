"""Models and families by name: the list, the table, building, registering, errors."""

import itertools

import keras
import pytest

from keras_deit import InputError, create_model, list_models
from keras_deit.models import (
    DeiT,
    abstract_model,
    get_spec,
    model_table,
    model_values,
    register_family,
    register_model,
)
from keras_deit.models import registry as registry_module

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
            "small_d18_patch16_224",
            "small_d24_patch16_224",
            "small_d36_patch16_224",
        )
    )
    assert list_models("deit*base*distilled*") == [
        "deit_base_distilled_patch16_224",
        "deit_base_distilled_patch16_384",
    ]
    assert list_models("vgg*") == []


def test_list_models_filters():
    names = {name: get_spec(name) for name in list_models()}

    def chosen(condition):
        return [name for name, spec in names.items() if condition(spec)]

    assert list_models(image_size=384) == chosen(lambda spec: spec.config["image_size"] == 384)
    assert list_models(max_parameters=23e6) == chosen(lambda spec: spec.parameters <= 23e6)
    assert list_models(pretrained=True) == chosen(lambda spec: spec.files)
    assert list_models(pretrained=False) == chosen(lambda spec: not spec.files)
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


def test_names_agree_with_the_configurations():
    for name in list_models("deit_*_patch16_???"):
        spec = get_spec(name)
        assert spec.config.get("distilled", False) == ("_distilled_" in name)
        assert name.endswith(f"_patch{spec.config['patch_size']}_{spec.config['image_size']}")


def test_a_model_has_the_published_values_unless_overridden():
    model = create_model(TINY)
    published = {"embed_dim": 192, "depth": 12, "num_heads": 3, "mlp_ratio": 4.0, "qkv_bias": True}
    published |= {"image_size": 224, "patch_size": 16, "num_classes": 1000, "distilled": False}
    published |= {"drop_path_rate": 0.0, "dropout_rate": 0.0, "stem": "linear", "in_channels": 3}
    published |= {"spt": False, "lsa": False, "residual": "none", "layer_scale_init": None}
    published |= {"uniform_drop_path": False, "class_token_at": 0, "class_depth": 0}
    published |= {"gates": False, "kept": None}
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
        ("deit_tiny_patch16_244", {}, r"deit_tiny_patch16_244.*deit_tiny_patch16_224"),
        ("DeiT_Base_patch16_384", {}, "DeiT_Base_patch16_384.*deit_base_patch16_384"),
        (TINY, {"depht": 3}, f"{TINY} 'depht'.*depth"),
        (TINY, {"image_size": 100}, "image_size 100.*patch_size 16.*96.*112"),
        (TINY, {"image_size": (96, 100)}, "image_size 96×100.*patch_size 16"),
        (TINY, {"image_size": 8}, "image_size 8.*patch_size 16.*16.*32"),
        (TINY, {"image_size": 0}, "image_size 0.*patch_size 16.*16.*32"),
        (TINY, {"image_size": "64"}, "image_size.*whole numbers.*'64'"),
        (TINY, {"image_size": 64.0}, r"image_size.*64\.0"),
        (TINY, {"image_size": (64,)}, r"image_size.*\(64,\)"),
        (TINY, {"image_size": (64, 64, 3)}, r"image_size.*\(64, 64, 3\)"),
        (TINY, {"depth": 1.5}, r"depth.*1\.5"),
        (TINY, {"depth": 1, "drop_path_rate": -0.1}, r"drop_path_rate.*-0\.1"),
        (TINY, {"num_heads": 5}, "embed_dim 192.*num_heads 5"),
        (TINY, {"drop_path_rate": 1.0}, r"drop_path_rate.*1\.0"),
    ],
)
def test_errors_name_the_value(name, values, message):
    with pytest.raises(InputError, match=message) as error:
        create_model(name, **values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("size", "value"),
    [
        *itertools.product(["patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio"], [0, -4]),
        ("in_channels", 0),
        ("num_classes", -4),
    ],
)
def test_sizes_are_above_zero(size, value):
    with pytest.raises(InputError, match=f"{size}.*{value}"):
        create_model("deit_tiny_patch16_224", **{size: value})


def test_an_abstract_model_has_the_same_errors():
    with pytest.raises(InputError, match="deit_huge"):
        abstract_model("deit_huge")


@pytest.fixture
def registry(monkeypatch):
    """Forgets what a test registers."""
    monkeypatch.setattr(registry_module.SPECS, "_values", dict(registry_module.SPECS._values))
    monkeypatch.setattr(registry_module.FAMILIES, "_values", dict(registry_module.FAMILIES._values))


def test_a_registered_model_is_listed_and_built(registry):
    values = {"image_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2}
    spec = register_model("mine", DeiT, crop_ratio=0.9, **values)
    assert get_spec("mine") is spec
    assert (spec.image_size, spec.crop_ratio, spec.top1, spec.files) == (8, 0.9, None, ())
    assert "mine" in list_models("m*") and "mine" not in list_models(pretrained=True)
    model = create_model("mine", num_classes=3)
    assert (model.name, model.output_shape) == ("mine", (None, 3))
    row = model_table(["mine"]).splitlines()[-1]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        *("`mine`", "8", "", "", "0.9", "", "")
    ]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [(TINY, {}, TINY), ("mine", {"dpeth": 1}, "DeiT 'dpeth'.*depth")],
    ids=["taken", "unknown argument"],
)
def test_models_that_cannot_be_registered(name, values, message, registry):
    with pytest.raises(InputError, match=message):
        register_model(name, DeiT, **values)


def test_a_family_is_a_classifier(registry):
    with pytest.raises(InputError, match=r"Classifier.*Dense"):
        register_family(keras.layers.Dense)
