"""A model family that is registered from one file outside of the package works everywhere."""

import json

import keras
import numpy as np
import pytest
from examples import EXAMPLES, module
from weight_files import stored_weights

import keras_deit
from keras_deit import count_macs, create_model, load_run
from keras_deit.models import abstract_model
from keras_deit.optimizers.param_groups import learning_rate_factors

RESUMED = ("--epochs=4", "--checkpoint_seconds=0")
VALUES = {"image_size": 16, "patch_size": 2, "embed_dim": 12, "depth": 2, "num_classes": 10}


@pytest.fixture(scope="module")
def run_dir(pyramid):
    return pyramid.train_in_process("whole", *RESUMED, backend="torch")


def test_the_file_has_about_a_hundred_lines():
    assert len((EXAMPLES / "pyramid.py").read_text().splitlines()) <= 125


def test_it_builds_and_is_listed(pyramid, capsys):
    pyramid.run("models", "--pattern=pyramid*")
    assert "`pyramid_tiny`" in capsys.readouterr().out
    model = create_model("pyramid_tiny", **VALUES)
    assert model(np.zeros((2, 16, 16, 3), "float32")).shape == (2, 10)
    assert isinstance(model, module("pyramid").Pyramid)
    assert [block.output.shape[1:] for block in model.blocks] == [(64, 12)] * 2 + [(16, 24)] * 2


def test_its_multiply_adds_are_those_of_its_matrices(pyramid):
    model = abstract_model("pyramid_tiny", **VALUES)

    def block(tokens, width):
        return tokens * 12 * width**2 + 2 * tokens**2 * width

    expected = 64 * 12 * 12 + 2 * block(64, 12) + 16 * 9 * 24 + 2 * block(16, 24) + 24 * 10
    assert count_macs(model) == expected


def test_it_is_planned(pyramid, capsys):
    pyramid.run("plan", "--recipe=pyramid_digits", "--device_memory_gb=1")
    printed = capsys.readouterr().out
    assert "pyramid_tiny" in printed and "fits" in printed


def test_a_layer_without_methods_is_answered_from_the_layers_inside(pyramid, monkeypatch):
    expected = count_macs(abstract_model("pyramid_tiny", **VALUES))
    for method in ("macs", "saved_activations"):
        monkeypatch.delattr(module("pyramid").Pooling, method)
    assert count_macs(abstract_model("pyramid_tiny", **VALUES)) == expected
    pyramid.run("plan", "--recipe=pyramid_digits")


@pytest.mark.parametrize("method", ["macs", "saved_activations"])
def test_what_is_not_known_is_named(pyramid, method, monkeypatch):
    pooling = module("pyramid").Pooling
    pool = pooling.call
    monkeypatch.delattr(pooling, method)
    monkeypatch.setattr(pooling, "call", lambda self, x: pool(self, keras.ops.fft((x, x))[0]))
    with pytest.raises(keras_deit.InputError, match=rf"FFT.*{method}"):
        if method == "macs":
            count_macs(abstract_model("pyramid_tiny", **VALUES))
        else:
            pyramid.run("plan", "--recipe=pyramid_digits")


@pytest.mark.slow
@pytest.mark.nightly
def test_a_killed_training_resumes_to_the_same_bits(pyramid, run_dir):
    killed = pyramid.kill_and_resume("killed", *RESUMED, backend="torch")
    expected, found = (stored_weights(d / "final.weights.h5") for d in (run_dir, killed))
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)


@pytest.mark.slow
def test_a_finished_run_opens_and_evaluates(pyramid, run_dir, capsys):
    pyramid.run("evaluate", f"--run_dir={run_dir}", "--batch_size=360")
    top1 = load_run(run_dir).summary["test"]["fused"]["top1"]
    assert f"{top1:.4f}" in capsys.readouterr().out


@pytest.mark.slow
def test_it_converts_and_its_published_names_are_understood(pyramid, run_dir):
    file = pyramid.folder / "pyramid.safetensors"
    pyramid.run("convert", f"--weights={run_dir}", f"--output={file}")
    model = load_run(run_dir).model()
    values = {**VALUES, "patch_size": 4, "depth": 1}
    again = create_model("pyramid_tiny", file, **values)
    for first, second in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    # Positions are resized to a larger image, and everything else stays.
    larger = create_model("pyramid_tiny", file, **{**values, "image_size": 32})
    positions = larger.get_layer("position_embedding").positions
    assert positions.shape == (1, 64, 12)
    head, larger_head = (m.get_layer("class_head").get_weights() for m in (model, larger))
    np.testing.assert_array_equal(head[0], larger_head[0])


@pytest.mark.slow
def test_it_saves_and_loads_as_a_keras_file(pyramid, run_dir):
    file = pyramid.folder / "pyramid.keras"
    pyramid.run("convert", f"--weights={run_dir}", f"--output={file}")
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    expected = load_run(run_dir).model().predict(images, verbose=0)
    found = keras.models.load_model(file).predict(images, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.slow
def test_it_exports(pyramid, run_dir):
    output = pyramid.folder / "savedmodels"
    pyramid.run("export", f"--run_dir={run_dir}", f"--output_dir={output}", "--name=pyramid")
    assert (output / "pyramid" / "1" / "saved_model.pb").is_file()


def test_layer_wise_decay_knows_its_blocks(pyramid):
    model = create_model("pyramid_tiny", **VALUES)
    factors = learning_rate_factors(model, 0.5)
    assert factors["patch_embedding/projection/kernel"] == 0.5**5
    assert factors["stage0_block0/attention/qkv/kernel"] == 0.5**4
    assert factors["stage1_block1/mlp/expand/kernel"] == 0.5
    assert factors["class_head/kernel"] == 1


@pytest.mark.slow
@pytest.mark.backends("torch")
def test_it_trains_with_layer_wise_decay_and_attention_alone(pyramid):
    run = pyramid.train("tuned", "--epochs=2", "--layer_decay=0.7", "--trainable=attention")
    identity = json.loads((run / "config.json").read_text())["run"]
    assert identity["optimization"]["trainable"] == "attention"
    trained = stored_weights(run / "final.weights.h5")
    start = pyramid.train("start", "--epochs=2", "--layer_decay=0.7", "--trainable=head")
    before = stored_weights(start / "final.weights.h5")
    changed = {name for name in trained if not np.array_equal(trained[name], before[name])}
    assert any("self_attention" in name for name in changed), changed
    assert not any("/mlp/" in name for name in changed)


def test_its_blocks_give_tokens_and_attention_maps(pyramid):
    model = create_model("pyramid_tiny", **VALUES)
    images = np.zeros((1, 16, 16, 3), "float32")
    maps = model.attention_model()(images)
    assert maps["stage0_block0"].shape == (1, 3, 64, 64)
    assert maps["stage1_block1"].shape == (1, 6, 16, 16)
    np.testing.assert_allclose(np.sum(maps["stage1_block1"], axis=-1), 1, atol=1e-5)
    assert model.token_model()(images)["stage1_block0"].shape == (1, 16, 24)


@pytest.mark.slow
@pytest.mark.backends("torch")
def test_activation_checkpointing_and_accumulation_work_together_with_it(pyramid):
    flags = ("--epochs=1", "--activation_checkpointing", "--accumulation_steps=2")
    assert load_run(pyramid.train("checkpointed", *flags)).summary["steps"] == 3
