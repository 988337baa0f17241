"""The layers of SPT and LSA in a model of one's own."""

import keras
import numpy as np
import pytest
from examples import EXAMPLES, Example
from sklearn.datasets import load_digits

from keras_deit import count_macs, create_model, load_run
from keras_deit.layers import LocalitySelfAttention, ShiftedPatchPooling, ShiftedPatchTokenization

VALUES = {"image_size": 16, "patch_size": 2, "embed_dim": 12, "depth": 1, "num_classes": 10}


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    example = Example("local", tmp_path_factory.mktemp("local"))
    example.run("models", "--pattern=local*")
    return example


def test_it_consists_of_the_layers_and_is_short(local):
    model = create_model("local_tiny", **VALUES)
    kinds = {type(layer) for layer in model.layers}
    assert kinds >= {ShiftedPatchTokenization, ShiftedPatchPooling, LocalitySelfAttention}
    assert model.blocks[0].lsa
    assert len((EXAMPLES / "local.py").read_text().splitlines()) <= 60


def test_it_counts_and_learns_with_fit_alone(local, tmp_path):
    model = create_model("local_tiny", **VALUES)

    def attention(tokens, width):
        return tokens * 4 * width**2 + 2 * tokens**2 * width

    block = attention(64, 12) + 64 * 4 * 12**2
    ends = 64 * 60 * 12 + 16 * 5 * 48 * 24 + 24 * 10
    assert count_macs(model) == ends + block + attention(16, 24)
    data = load_digits()
    images = np.kron(data.images[:256, ..., None] / 8 - 1, np.ones((1, 2, 2, 3)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss)
    losses = model.fit(images, data.target[:256], epochs=8, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    model.save(tmp_path / "a.keras")
    again = keras.models.load_model(tmp_path / "a.keras")
    np.testing.assert_allclose(again(images[:4]), model(images[:4]), atol=1e-6)


@pytest.mark.slow
@pytest.mark.backends("torch")
def test_its_recipe_trains(local):
    run = load_run(local.train("run", "--epochs=1"))
    assert run.summary["test"]
    assert isinstance(run.model().get_layer("attention"), LocalitySelfAttention)
