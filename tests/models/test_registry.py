"""Models by name: what is listed, what is built, what is refused."""

import re

import numpy as np
import pytest
from harness import numpy, randomise

from keras_deit import InputError, create_model, list_models
from keras_deit.models import DeiT, get_spec, model_values

TINY = "deit_tiny_patch16_224"
SMALL_VALUES = {
    "image_size": 8,
    "patch_size": 4,
    "embed_dim": 8,
    "depth": 2,
    "num_heads": 2,
    "num_classes": 3,
}


def test_list_models():
    assert [name for name in list_models() if get_spec(name).architecture is DeiT] == sorted(
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


def test_names_and_specs_agree():
    for name in list_models():
        spec = get_spec(name)
        assert spec.name == name
        if spec.architecture is not DeiT:
            continue
        assert spec.config["distilled"] == ("_distilled_" in name)
        assert name.endswith(f"_patch{spec.config['patch_size']}_{spec.config['image_size']}")


def test_values_are_the_published_ones_unless_overridden():
    model = create_model(TINY)
    published = {"embed_dim": 192, "depth": 12, "num_heads": 3, "mlp_ratio": 4.0, "qkv_bias": True}
    published |= {"image_size": 224, "patch_size": 16, "num_classes": 1000, "distilled": False}
    published |= {"drop_path_rate": 0.0}
    assert model_values(TINY) == published
    assert model.get_config() == {**published, "name": TINY, "trainable": True}
    overrides = {"image_size": (8, 16), "depth": 1, "mlp_ratio": 2.0, "drop_path_rate": 0.3}
    changed = create_model(TINY, num_classes=7, patch_size=8, distilled=True, **overrides)
    expected = {**published, **overrides, "num_classes": 7, "patch_size": 8, "distilled": True}
    assert changed.get_config() == {**expected, "name": TINY, "trainable": True}
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
        (TINY, {"num_heads": 5}, "embed_dim 192 is not a multiple of num_heads 5"),
        (TINY, {"drop_path_rate": 1.0}, "should be in [0, 1). Received: 1.0"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(name, values, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        create_model(name, **values)
    assert "\n" not in str(error.value)


def test_weights_are_loaded_from_a_file(tmp_path):
    path = tmp_path / "a.weights.h5"
    model = create_model(TINY, **SMALL_VALUES)
    randomise(model)
    model.save_weights(path)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    for given in (path, str(path)):
        loaded = create_model(TINY, weights=given, **SMALL_VALUES)
        np.testing.assert_array_equal(numpy(loaded(images)), numpy(model(images)))


def test_weights_of_a_compiled_and_trained_model_are_loaded(tmp_path):
    """Its file holds the optimiser's variables too."""
    model = create_model(TINY, **SMALL_VALUES)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    model.compile(optimizer="adam", loss="mse")
    model.train_on_batch(images, np.zeros((2, 3)))
    model.save_weights(tmp_path / "a.weights.h5")
    loaded = create_model(TINY, weights=tmp_path / "a.weights.h5", **SMALL_VALUES)
    np.testing.assert_array_equal(numpy(loaded(images)), numpy(model(images)))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"distilled": True}, "it holds 32 weights, the model has 35"),
        ({"depth": 1}, "it holds 32 weights, the model has 20"),
        ({"depth": 3}, "it holds 32 weights, the model has 44"),
        ({"num_classes": 4}, r"it holds shapes \(3,\), \(8, 3\) where the model has \(4,\), "),
    ],
    ids=str,
)
def test_weights_of_another_model_are_refused(values, reason, tmp_path):
    path = tmp_path / "a.weights.h5"
    create_model(TINY, **SMALL_VALUES).save_weights(path)
    message = rf"a\.weights\.h5 does not fit deit_tiny_patch16_224: .*{reason}"
    with pytest.raises(InputError, match=message) as error:
        create_model(TINY, weights=path, **{**SMALL_VALUES, **values})
    assert "\n" not in str(error.value)


def test_files_that_are_no_weights(tmp_path):
    with pytest.raises(InputError, match="There is no weights file"):
        create_model(TINY, weights=tmp_path / "a.weights.h5", **SMALL_VALUES)
    with pytest.raises(InputError, match=r"path of a \.weights\.h5 file, not 'a.pth'"):
        create_model(TINY, weights="a.pth", **SMALL_VALUES)
    (tmp_path / "b.weights.h5").write_text("no HDF5")
    with pytest.raises(InputError, match="does not fit"):
        create_model(TINY, weights=tmp_path / "b.weights.h5", **SMALL_VALUES)


@pytest.mark.parametrize(
    "size", ["patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "num_classes"]
)
@pytest.mark.parametrize("value", [0, -4])
def test_sizes_are_above_zero(size, value):
    with pytest.raises(InputError, match=f"{size} should be above 0. Received: {value}"):
        create_model("deit_tiny_patch16_224", **{size: value})
