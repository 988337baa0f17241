"""Published weights in a model family that a user has registered."""

import keras
import numpy as np
import pytest
from harness import configuration, numpy, randomize
from published_cases import DATA, SPECS, values

from keras_deit import InputError, create_model, load_pretrained
from keras_deit.models import Classifier, DeiT, register_family, register_model, registry
from keras_deit.models.classifier import classification_head
from keras_deit.pretrained import save_safetensors

SIZES = {name: value for name, value in values("deit").items() if name != "name"}


class SharpDeiT(DeiT):
    """A DeiT whose logits are multiplied: a constructor argument of its own, the same weights."""

    def __init__(self, sharpness: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.sharpness = sharpness

    def call(self, images, training=None, mask=None):
        return self.sharpness * super().call(images, training=training, mask=mask)


class Flat(Classifier):
    """A user's own architecture; nobody has published weights of it."""

    def __init__(self, image_size=8, num_classes=3, **kwargs):
        inputs = keras.Input((image_size, image_size, 3))
        x = keras.layers.Dense(5, name="projection")(keras.layers.Flatten()(inputs))
        super().__init__(inputs, {"class": classification_head(num_classes, "head")(x)}, **kwargs)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Registers both families during a test."""
    monkeypatch.setattr(registry.SPECS, "_values", dict(registry.SPECS._values))
    monkeypatch.setattr(registry.FAMILIES, "_values", dict(registry.FAMILIES._values))
    register_family(SharpDeiT)
    register_model("sharp_deit", SharpDeiT, sharpness=2.0, **SIZES)
    register_family(Flat)
    register_model("flat", Flat)


def test_a_subclass_of_deit_takes_published_weights():
    outputs = np.load(DATA / "deit.npz")
    weights = DATA / "deit.safetensors"
    model = create_model("sharp_deit", weights, SPECS["deit"]["create"]["num_classes"])
    assert isinstance(model, SharpDeiT)
    received = numpy(model(outputs["images"]))
    assert np.abs(received - 2 * outputs["logits"]).max() <= 2e-5


def test_a_subclass_of_deit_resizes_positions_and_round_trips_a_keras_file(tmp_path):
    model = create_model("sharp_deit", DATA / "deit.safetensors", image_size=(32, 72))
    assert [table.grid for table in model.position_tables()] == [(4, 9)]
    model.save(tmp_path / "sharp.keras")
    loaded = keras.saving.load_model(tmp_path / "sharp.keras")
    assert isinstance(loaded, SharpDeiT) and configuration(loaded) == configuration(model)
    again = create_model("sharp_deit", tmp_path / "sharp.keras", image_size=(32, 72))
    for weight, other in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(numpy(weight), numpy(other), weight.path)


@pytest.mark.parametrize("model", ["sharp_deit", "deit_tiny_patch16_224"])
def test_files_of_other_families_are_still_recognized(model):
    with pytest.raises(InputError, match=rf"CaiT.*{model}.*DeiT"):
        create_model(model, DATA / "cait.safetensors", **SIZES)


def test_weights_of_a_new_architecture_round_trip_by_their_paths(tmp_path):
    model = create_model("flat")
    randomize(model)
    save_safetensors(model, tmp_path / "flat.safetensors")
    again = create_model("flat", tmp_path / "flat.safetensors")
    for weight, other in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(numpy(weight), numpy(other), weight.path)
    other_classes = create_model("flat", tmp_path / "flat.safetensors", num_classes=4)
    np.testing.assert_array_equal(
        numpy(other_classes.get_layer("projection").kernel), numpy(model.layers[2].kernel)
    )


def test_a_new_architecture_does_not_take_published_weights():
    with pytest.raises(InputError, match=r"deit\.safetensors.*DeiT|deit\.safetensors.*tensors"):
        load_pretrained(create_model("flat"), DATA / "deit.safetensors")
