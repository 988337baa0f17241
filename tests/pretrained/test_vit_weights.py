"""Files of ViTs: the authors' npz, other sizes, heads and families, in one line where they do not
fit."""

import logging

import numpy as np
import pytest
from harness import numpy, randomize, run

from keras_deit import InputError, create_model, load_pretrained
from keras_deit.models import DeiT, ViT
from keras_deit.models.weight_names import model_entries
from keras_deit.pretrained import save_safetensors

SMALL = {"image_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}
SMALL["num_classes"] = 5
HYBRID = {**SMALL, "patch_size": 1, "stem_depths": (1, 1), "stem_width": 32}
IMAGES = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype("float32")


def vit(**changed):
    model = ViT(**{**SMALL, "name": "vit", **changed})
    randomize(model)
    return model


def tensors(model, naming="Flax"):
    table = model.weight_names()[naming]
    entries = model_entries(model, table)
    return {
        name: tensor
        for entry in entries
        for name, tensor in zip(entry.names, entry.tensors(), strict=True)
    }


def npz(path, model=None, naming="Flax", **changed):
    """Writes the file of a model as the authors do, some tensors of it changed or without None."""
    held = {**tensors(model or vit(), naming), **changed}
    np.savez(path, **{name: tensor for name, tensor in held.items() if tensor is not None})
    return path


def assert_same(model, other):
    np.testing.assert_allclose(numpy(run(model, IMAGES)), numpy(run(other, IMAGES)), atol=1e-6)


@pytest.mark.parametrize("values", [SMALL, HYBRID, {**HYBRID, "stem_depths": ()}], ids=str)
@pytest.mark.parametrize("naming", ["Flax", "Flax, linen", "authors"])
def test_every_naming_gives_back_the_weights(values, naming, tmp_path):
    model = vit(**values)
    other = vit(**values)
    randomize(other, 7.0)
    load_pretrained(other, npz(tmp_path / "a.npz", model, naming))
    assert_same(model, other)


def test_tensors_behind_a_prefix_of_flax(tmp_path):
    model = vit()
    held = {f"params/{name}": tensor for name, tensor in tensors(model).items()}
    np.savez(tmp_path / "a.npz", **held)
    other = vit()
    randomize(other, 7.0)
    load_pretrained(other, tmp_path / "a.npz")
    assert_same(model, other)


def test_a_subclass_with_arguments_of_its_own_takes_npz(tmp_path):
    class Short(ViT):
        def __init__(self, classes):
            super().__init__(**{**SMALL, "num_classes": classes})

    model, other = vit(), Short(5)
    load_pretrained(other, npz(tmp_path / "a.npz", model))
    assert_same(model, other)


def test_create_model_takes_npz(tmp_path):
    name = "vit_tiny_patch16_224"
    values = {**SMALL, "num_classes": None}
    model = create_model(name, **values)
    randomize(model)
    loaded = create_model(name, npz(tmp_path / "a.npz", model), **values)
    assert_same(model, loaded)


@pytest.mark.parametrize("kept", [("head/bias", "head/kernel"), ()])
def test_a_file_with_other_classes_or_without_head(kept, tmp_path, caplog):
    without = {} if kept else {"head/kernel": None, "head/bias": None}
    path = npz(tmp_path / "a.npz", vit(num_classes=7), **without)
    with caplog.at_level(logging.WARNING, "keras_deit"):
        model = create_model("vit_tiny_patch16_224", path, **SMALL)
    head = model.get_layer("class_head")
    assert not numpy(head.kernel).any() and not numpy(head.bias).any()
    assert "class_head" in caplog.text


def test_a_representation_is_left_out_with_its_head(tmp_path, caplog):
    """As the authors fine-tune; with the same classes the head would take something else."""
    path = npz(tmp_path / "a.npz", vit(representation_size=6, num_classes=7))
    with caplog.at_level(logging.WARNING, "keras_deit"):
        load_pretrained(vit(), path)
    assert "pre_logits" in caplog.text
    with pytest.raises(InputError, match="representation_size is 6, the model's None") as error:
        load_pretrained(vit(num_classes=7), path)
    assert "\n" not in str(error.value)
    load_pretrained(vit(representation_size=6), path)


@pytest.mark.parametrize(
    ("held", "wanted", "message"),
    [
        ({"embed_dim": 16}, {}, "its width is 16, the model's 12"),
        ({"depth": 3}, {}, "it has 3 blocks, the model 2"),
        ({"num_heads": 3}, {}, "its number of heads is 3, the model's 2"),
        ({"mlp_ratio": 3.0}, {}, "its hidden width of the MLPs is 36, the model's 48"),
        ({"patch_size": 16}, {}, "its patch side is 16, the model's 8"),
        ({"pooling": "avg"}, {}, "it has 0 class tokens, the model 1"),
        (HYBRID, {}, "a hybrid ViT, the model is a ViT; .*2 ResNet units, the model 0"),
        ({}, HYBRID, "a ViT, the model is a hybrid ViT; .*0 ResNet roots, the model 1"),
        (HYBRID, {**HYBRID, "stem_depths": (1, 2)}, "2 ResNet units, the model 3"),
    ],
    ids=str,
)
@pytest.mark.parametrize("naming", ["Flax", "authors"])
def test_a_file_of_another_size_is_one_line(held, wanted, message, naming, tmp_path):
    if naming == "authors" and "num_heads" in held:
        pytest.skip("names and shapes of timm do not say the number of heads")
    path = npz(tmp_path / "a.npz", vit(**held), naming)
    model = vit(**wanted)
    before = [numpy(weight) for weight in model.weights]
    with pytest.raises(InputError, match=message) as error:
        load_pretrained(model, path)
    assert "\n" not in str(error.value)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(numpy(weight), value)


def test_a_file_of_a_mixer_is_one_line(tmp_path):
    rng = np.random.default_rng(0)
    names = [
        *(f"MixerBlock_{i}/{part}" for i in range(2) for part in (
            *(f"LayerNorm_{k}/{leaf}" for k in (0, 1) for leaf in ("bias", "scale")),
            *(f"{mlp}_mixing/Dense_{k}/{leaf}" for mlp in ("token", "channel")
              for k in (0, 1) for leaf in ("bias", "kernel")),
        )),
        *("head/bias", "head/kernel", "stem/bias", "stem/kernel"),
    ]  # fmt: skip
    np.savez(tmp_path / "a.npz", **{name: rng.normal(size=5) for name in names})
    with pytest.raises(InputError, match="no model of a known family") as error:
        load_pretrained(vit(), tmp_path / "a.npz")
    assert "\n" not in str(error.value)


def test_files_of_deit_and_vit_fit_each_other(tmp_path):
    """They have the same names and shapes, and differ by the form of GELU."""
    deit = DeiT(**SMALL)
    randomize(deit)
    save_safetensors(deit, tmp_path / "deit.safetensors")
    model = vit(approximate_gelu=False)
    load_pretrained(model, tmp_path / "deit.safetensors")
    assert_same(deit, model)
    save_safetensors(model, tmp_path / "vit.safetensors")
    other = DeiT(**SMALL)
    load_pretrained(other, tmp_path / "vit.safetensors")
    assert_same(model, other)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "holds a ViT; deit is a DeiT"),
        (HYBRID, "holds a hybrid ViT; deit is a DeiT"),
    ],
)
def test_npz_into_a_deit_is_one_line(values, message, tmp_path):
    path = npz(tmp_path / "a.npz", vit(**values))
    with pytest.raises(InputError, match=message) as error:
        load_pretrained(DeiT(**SMALL, name="deit"), path)
    assert "\n" not in str(error.value)


def test_a_distilled_deit_into_a_vit_is_one_line(tmp_path):
    save_safetensors(DeiT(**SMALL, distilled=True), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="holds a distilled DeiT; vit is a ViT") as error:
        load_pretrained(vit(), tmp_path / "a.safetensors")
    assert "\n" not in str(error.value)


def test_a_vit_takes_the_normalization_of_its_name_and_a_file_its_own(tmp_path):
    half = ((0.5,) * 3, (0.5,) * 3)

    def normalization(model):
        return model.image_format.mean, model.image_format.std

    model = create_model("vit_tiny_patch16_224", **SMALL)
    assert normalization(model) == half
    assert normalization(type(model).from_config(model.get_config())) == half
    assert normalization(model.reset_classifier(3)) == half
    npz(tmp_path / "a.npz", model)
    loaded = create_model("vit_tiny_patch16_224", tmp_path / "a.npz", **SMALL)
    assert normalization(loaded) == half
    deit = DeiT(**SMALL)
    save_safetensors(deit, tmp_path / "deit.safetensors")
    loaded = create_model("vit_tiny_patch16_224", tmp_path / "deit.safetensors", **SMALL)
    assert normalization(loaded) == (deit.image_format.mean, deit.image_format.std)
