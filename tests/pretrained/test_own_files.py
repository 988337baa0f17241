"""Files of this package say of which model they are, and notice when they are damaged."""

import re

import h5py
import keras
import numpy as np
import pytest
import torch
from harness import numpy
from published_cases import tensors
from test_weight_files import SMALL_VALUES, TINY, as_torch, refusal

from keras_deit import Classifier, InputError, create_model, load_pretrained, register_family
from keras_deit.layers import PatchEmbedding, PositionEmbedding
from keras_deit.models.classifier import classification_head
from keras_deit.pretrained.conversion import save_model
from keras_deit.pretrained.weights_file import write_weights

SUFFIXES = (".keras", ".weights.h5", ".safetensors")
of_every_format = pytest.mark.parametrize("suffix", SUFFIXES)


@pytest.fixture(scope="module")
def scaled():
    """A family whose constants and activation no shape shows."""

    @register_family
    class Scaled(Classifier):
        def __init__(
            self, image_size=8, scale=1.0, activation="gelu", epsilon=1e-6, drop=0.0, num_classes=3,
            **kwargs,
        ):  # fmt: skip
            sides = (image_size, image_size) if isinstance(image_size, int) else image_size
            inputs = keras.Input((*sides, 3))
            embedding = PatchEmbedding(4, 8, name="patch_embedding")
            x = embedding(inputs)
            x = PositionEmbedding(embedding.patch_grid(inputs.shape), name="positions")(x)
            x = keras.layers.LayerNormalization(epsilon=epsilon, name="norm")(x)
            x = keras.layers.Rescaling(scale)(keras.layers.Activation(activation)(x))
            x = keras.layers.GlobalAveragePooling1D()(keras.layers.Dropout(drop)(x))
            super().__init__(
                inputs, {"class": classification_head(num_classes, "head")(x)}, **kwargs
            )

    return Scaled


@pytest.mark.parametrize(
    ("changed", "suffix"),
    zip(({"scale": 0.5}, {"activation": "relu"}, {"epsilon": 1e-3}), SUFFIXES, strict=True),
    ids=str,
)
def test_a_constant_that_no_shape_shows_is_refused_by_name(scaled, changed, suffix, tmp_path):
    save_model(scaled(**changed), tmp_path / f"a{suffix}")
    model = scaled()
    before = [numpy(weight) for weight in model.weights]
    (name, value), = changed.items()  # fmt: skip
    with pytest.raises(InputError, match=rf"a{re.escape(suffix)} .*{name} is {value!r}"):
        load_pretrained(model, tmp_path / f"a{suffix}")
    assert all(map(np.array_equal, before, map(numpy, model.weights)))


@of_every_format
def test_the_number_of_heads_is_compared_and_rates_and_classes_may_change(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    source = create_model(TINY, **SMALL_VALUES)
    save_model(source, path)
    with pytest.raises(InputError, match="num_heads is 2, the model's 4"):
        create_model(TINY, weights=path, **{**SMALL_VALUES, "num_heads": 4})
    changes = {"drop_path_rate": 0.3, "num_classes": 5, "image_size": 16}
    changed = create_model(TINY, weights=path, **{**SMALL_VALUES, **changes})
    np.testing.assert_array_equal(
        numpy(changed.get_layer("norm").gamma), numpy(source.get_layer("norm").gamma)
    )
    for block in ("block_0", "block_1"):
        pair = (model.get_layer(block).get_weights() for model in (source, changed))
        assert all(map(np.array_equal, *pair))


@of_every_format
def test_positions_of_as_many_patches_in_another_grid_are_resized(suffix, tmp_path):
    """2×8 and 4×4 patches have tables of one shape."""
    path = tmp_path / f"a{suffix}"
    source = create_model(TINY, **{**SMALL_VALUES, "image_size": (8, 32)})
    table = source.get_layer("position_embedding").positions
    table.assign(np.random.default_rng(0).normal(size=table.shape))
    save_model(source, path)
    square = create_model(TINY, weights=path, **{**SMALL_VALUES, "image_size": 16})
    resized = numpy(square.get_layer("position_embedding").positions)
    assert resized.shape == tuple(table.shape)
    assert not np.allclose(resized[:, 1:], numpy(table)[:, 1:], atol=0.1)
    np.testing.assert_array_equal(resized[:, :1], numpy(table)[:, :1])


@of_every_format
def test_the_normalization_of_the_images_comes_with_the_weights(suffix, tmp_path):
    source = create_model(TINY, **SMALL_VALUES)
    source.set_normalization((0.5,) * 3, (0.25,) * 3)
    save_model(source, tmp_path / f"a{suffix}")
    model = create_model(TINY, weights=tmp_path / f"a{suffix}", **SMALL_VALUES)
    assert model.image_format == source.image_format


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_keras_ignores_the_record_and_files_without_one_load_as_before(tmp_path):
    model, path = create_model(TINY, **SMALL_VALUES), tmp_path / "a.weights.h5"
    write_weights(model, path)
    twin = create_model(TINY, **SMALL_VALUES)
    twin.load_weights(path)
    assert all(map(np.array_equal, map(numpy, model.weights), map(numpy, twin.weights)))
    model.save_weights(path)
    other = create_model(TINY, weights=path, **{**SMALL_VALUES, "num_heads": 4})
    assert np.array_equal(numpy(other.get_layer("norm").gamma), numpy(model.weights[-4]))


@pytest.mark.parametrize("kind", ["float32", "int32", "complex64", "changed"])
def test_weights_that_are_not_finite_floats_are_refused(kind, tmp_path):
    path = tmp_path / "a.weights.h5"
    write = write_weights if kind == "changed" else (lambda model, path: model.save_weights(path))
    write(create_model(TINY, **SMALL_VALUES), path)
    with h5py.File(path, "r+") as file:
        name = "layers/layer_normalization/vars/0"
        value = file[name][()]
        value[0] = {"float32": np.nan}.get(kind, 3)
        dtype = "float32" if kind == "changed" else kind
        del file[name]
        file[name] = value.astype(dtype)
    model = create_model(TINY, **SMALL_VALUES)
    expected = {"float32": "finite", "changed": "checksum"}.get(kind, "not of the model's dtypes")
    with pytest.raises(InputError, match=rf"a\.weights\.h5 .*{expected}"):
        load_pretrained(model, path)


def test_the_checksums_of_a_pytorch_archive_are_compared(tmp_path):
    path, held = tmp_path / "a.pth", as_torch(tensors("deit"))
    torch.save(held, path)
    whole = path.read_bytes()
    marker = held["blocks.1.mlp.fc1.weight"].numpy().tobytes()[:64]
    place = whole.index(marker) + 8
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert re.search(r"blocks\.1\.mlp\.fc1\.weight.*checksum", refusal(path))


def test_an_own_safetensors_file_has_checksums(tmp_path):
    path = tmp_path / "a.safetensors"
    save_model(create_model(TINY, **SMALL_VALUES), path)
    whole = bytearray(path.read_bytes())
    whole[-100] ^= 1
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"a\.safetensors .*checksum"):
        create_model(TINY, weights=path, **SMALL_VALUES)
    # Also if it does not seem to be one any more.
    path.write_bytes(bytes(whole).replace(b'"keras_deit"', b'"keras_deiu"'))
    with pytest.raises(InputError, match=r"a\.safetensors .*checksum of its metadata"):
        create_model(TINY, weights=path, **SMALL_VALUES)
