"""Features, models without heads, new heads, and images of other than three channels."""

import keras
import numpy as np
import pytest
from harness import numpy, randomize
from model_cases import DISTILLED, PLAIN

from keras_deit import InputError, create_model

SIZES = {"image_size": 32, "depth": 2, "embed_dim": 16, "num_classes": 5}
FAMILIES = {
    "deit_tiny_distilled_patch16_224": {"num_heads": 2},
    "deit3_small_patch16_224": {"num_heads": 2},
    "cait_xxs24_224": {"num_heads": 2},
    "resmlp_12_224": {},
    "sl_cait_patch4_32": {"num_heads": 2, "patch_size": 16},
    "patchconvnet_s60_224": {},
    "cvit_224": {
        **{"num_heads": 2, "patch_size": 4, "stem_depths": (1, 1), "stem_channels": (4, 8)},
        "mlp_ratio": 1.0,
    },
    "vit_small_r26_s32_224": {"num_heads": 2, "stem_depths": (1, 1, 1), "stem_width": 32},
}
# Stages of 4×4 and 2×2 patches.
STAGED = {
    "pit_small_data_patch2_32": {
        **{"patch_size": 8, "embed_dim": 8, "depth": (1, 1), "num_heads": (2, 4)},
        "head_dim": 4,
    },
    "swin_small_data_patch2_32": {
        **{"patch_size": 8, "embed_dim": 8, "depth": (1, 1), "num_heads": (2, 4)},
        "window_size": 2,
    },
    "binary_vit_small_patch4_224": {
        **{"patch_size": 8, "embed_dim": (8, 16), "depth": (1, 1), "num_heads": (2, 4)},
        **{"mlp_ratio": 2, "reduction": (2, 1)},
    },
}
ALL = {**FAMILIES, **STAGED}


def small(name, **values):
    model = create_model(name, **{**SIZES, **ALL[name], **values})
    randomize(model, 0.3)
    return model


def images(channels=3):
    values = np.random.default_rng(0).normal(size=(2, 32, 32, channels))
    return values.astype("float32")


def case(name):
    """JAX, which compiles operation by operation, has three families."""
    everywhere = (
        *("deit_tiny_distilled_patch16_224", "patchconvnet_s60_224"),
        "swin_small_data_patch2_32",
    )
    others = pytest.mark.backends("tensorflow", "torch")
    return name if name in everywhere else pytest.param(name, marks=others)


@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.parametrize("name", [*map(case, FAMILIES)])
def test_features_of_every_family(name):
    model = small(name)
    found = model.forward_features(images(), intermediates=(0, -1))
    assert found.grid == (2, 2)
    assert found.patches.shape == (2, 2, 2, 16)
    assert {index: tuple(x.shape) for index, x in found.intermediates.items()} == {
        0: (2, 2, 2, 16),
        -1: (2, 2, 2, 16),
    }
    np.testing.assert_allclose(
        numpy(model.head_layers["class"](found.embedding)),
        numpy(model.heads(images())["class"]),
        atol=1e-5,
    )
    tokens = numpy(model.token_model()(images())[model.blocks[0].name])
    patches = tokens.reshape(2, -1, 16)[:, -4:].reshape(2, 2, 2, 16)
    np.testing.assert_allclose(numpy(found.intermediates[0]), patches, atol=1e-6)


@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.parametrize("name", [*map(case, STAGED)])
@pytest.mark.nightly("jax")
def test_features_of_stages(name):
    """The tokens are those of the last stage; each block has the grid of its own."""
    model = small(name)
    found = model.forward_features(images(), intermediates=(0, -1))
    assert found.grid == (2, 2) and found.patches.shape == (2, 2, 2, 16)
    shapes = {index: tuple(x.shape) for index, x in found.intermediates.items()}
    assert shapes == {0: (2, 4, 4, 8), -1: (2, 2, 2, 16)}
    tokens = model.token_model()(images())
    for index, patches in found.intermediates.items():
        _, rows, columns, width = patches.shape
        expected = numpy(tokens[model.blocks[index].name])[:, -rows * columns :]
        np.testing.assert_allclose(numpy(patches).reshape(2, -1, width), expected, atol=1e-6)


def test_the_tokens_are_those_behind_the_last_norm():
    model = DISTILLED.build_random()
    found = model.forward_features(DISTILLED.inputs())
    assert found.tokens.shape == (3, 2 + 6, 8) and found.grid == (3, 2)
    np.testing.assert_allclose(numpy(found.embedding), numpy(found.tokens)[:, 0], atol=1e-6)


def test_a_head_on_the_patches_can_be_trained_and_saved(tmp_path):
    inputs = keras.Input((32, 32, 3))
    body = small("deit3_small_patch16_224")
    found = body.forward_features(inputs, intermediates=(1,))
    maps = keras.layers.Conv2D(3, 1)(found.intermediates[1] + found.patches)
    model = keras.Model(inputs, maps)
    model.compile("sgd", "mse")
    before = numpy(body.blocks[0].weights[0])
    model.fit(images(), np.ones((2, 2, 2, 3), "float32"), verbose=0)
    assert np.abs(numpy(body.blocks[0].weights[0]) - before).max() > 0
    model.save(tmp_path / "a.keras")
    loaded = keras.saving.load_model(tmp_path / "a.keras")
    np.testing.assert_allclose(numpy(loaded(images())), numpy(model(images())), atol=1e-6)


def test_a_block_that_is_not_there_is_refused():
    with pytest.raises(InputError, match=r"blocks 0 to 1.*intermediates=\(2,\)"):
        PLAIN.build().forward_features(PLAIN.inputs(), intermediates=(2,))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.backends("torch")
def test_without_classes_a_model_returns_what_its_heads_would_take(name, tmp_path):
    model, bare = small(name), create_model(name, **{**SIZES, **ALL[name], "num_classes": 0})
    own = {weight.path: weight for weight in model.weights}
    for weight in bare.weights:
        weight.assign(own[weight.path].value)
    assert bare.num_classes == 0 and bare.head_layers == {}
    heads = model.head_layers.values()
    expected = [numpy(keras.Model(model.input, head.input)(images())) for head in heads]
    np.testing.assert_allclose(numpy(bare(images())), np.mean(expected, axis=0), atol=1e-6)
    embedding = bare.forward_features(images()).embedding
    np.testing.assert_allclose(numpy(embedding), expected[0], atol=1e-6)
    bare.save(tmp_path / "a.keras")
    assert keras.saving.load_model(tmp_path / "a.keras").num_classes == 0


@pytest.mark.parametrize("name", ALL)
@pytest.mark.backends("torch")
def test_reset_classifier_keeps_all_but_the_heads(name):
    model = small(name)
    model.set_normalization((0.5,) * 3, (0.5,) * 3)
    model.blocks[0].trainable = False
    for classes in (3, 0):
        other = model.reset_classifier(classes)
        assert other.num_classes == classes and model.num_classes == 5
        assert other.image_format == model.image_format and not other.blocks[0].trainable
        same = [numpy(x.forward_features(images()).embedding) for x in (model, other)]
        np.testing.assert_array_equal(*same)


def test_one_token_per_class_needs_classes():
    with pytest.raises(InputError, match="token_per_class"):
        create_model("patchconvnet_s60_multi_224", num_classes=0)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.backends("torch")
def test_a_model_takes_images_of_other_channels(name, channels):
    model = small(name, in_channels=channels)
    assert model(images(channels)).shape == (2, 5)
    assert len(model.image_format.mean) == channels
    pixels = np.full((2, 32, 32, channels), 128, "uint8")
    assert model.image_format.normalize(pixels).shape == pixels.shape


def test_normalization_of_other_channels():
    gray, five = (
        create_model("deit_tiny_patch16_224", **SIZES, num_heads=2, in_channels=n) for n in (1, 5)
    )
    np.testing.assert_allclose(gray.image_format.mean, [0.449], atol=1e-6)
    assert five.image_format.std == (0.229, 0.224, 0.225, 0.229, 0.224)
    five.set_normalization(range(5), range(1, 6))
    assert five.image_format.std == (1, 2, 3, 4, 5)
    with pytest.raises(InputError, match="5 channels"):
        five.set_normalization((0.5,), (0.5,))
