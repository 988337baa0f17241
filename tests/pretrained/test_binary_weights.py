"""Binary weights are written as bits, and the model computes the same with what is read."""

import json

import numpy as np
import pytest
from harness import numpy
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from keras_deit import InputError, create_model
from keras_deit.layers.introspection import binary_weights
from keras_deit.pretrained import save_safetensors
from keras_deit.pretrained.binary_weights import pack, unpack
from keras_deit.serving import export_model

pytestmark = pytest.mark.backends("tensorflow", "torch")

STAR = "binary_vit_small_patch4_star_224"
NAME = "binary_vit_small_patch4_224"
# Two stages, whose widths are no powers of 2, so that means of rows are rounded.
SMALL = {
    **{"image_size": 16, "embed_dim": (48, 96), "depth": (1, 1), "num_heads": (1, 2)},
    **{"mlp_ratio": (2, 2), "reduction": (2, 1), "num_classes": 5},
}


def build(name=NAME, **values):
    """Returns a model with statistics, scales and slopes as of a trained one."""
    model = create_model(name, **{**SMALL, **values})
    generator = np.random.default_rng(0)
    for variable in model.variables:
        if len(variable.shape) == 1:
            drawn = generator.normal(size=variable.shape, scale=0.2).astype("float32")
            variable.assign_add(np.abs(drawn))
    return model


@pytest.fixture(scope="module")
def model():
    return build()


def logits(model):
    images = np.random.default_rng(1).normal(size=(3, *model.input_shape[1:]))
    return numpy(model(images.astype("float32"), training=False))


@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.nightly("jax")
def test_the_logits_are_the_same(model, tmp_path):
    path = tmp_path / "bits.safetensors"
    save_safetensors(model, path, binary=True)
    loaded = create_model(NAME, path, **SMALL)
    assert logits(model).std() > 1e-3
    np.testing.assert_array_equal(logits(loaded), logits(model))
    for (mine, function), (other, same) in zip(
        binary_weights(model), binary_weights(loaded), strict=True
    ):
        np.testing.assert_array_equal(numpy(function(mine.value)), numpy(same(other.value)))
        assert numpy(mine).std() != numpy(other).std()


@pytest.mark.parametrize(("name", "count"), [(NAME, 14), (STAR, 13)])
def test_a_file_has_at_most_a_tenth_of_the_binary_part_as_floats(name, count, tmp_path):
    """Six units and, with the reduction, a seventh in each block; and a convolution."""
    model = build(name)
    float_file, bits_file = tmp_path / "float.safetensors", tmp_path / "bits.safetensors"
    save_safetensors(model, float_file)
    save_safetensors(model, bits_file, binary=True)
    floats, held = load_file(float_file), load_file(bits_file)
    binary = [tensor.removesuffix(".bits") for tensor in held if tensor.endswith(".bits")]
    assert len(binary) == len(binary_weights(model)) == count
    as_bits = sum(held[f"{t}.bits"].nbytes + held[f"{t}.sums"].nbytes for t in binary)
    as_floats = sum(floats.pop(tensor).nbytes for tensor in binary)
    assert as_bits <= as_floats / 10
    assert len(held) == len(floats) + 2 * count
    for tensor, value in floats.items():
        np.testing.assert_array_equal(held[tensor], value)
    saved = float_file.stat().st_size - bits_file.stat().st_size
    assert saved > 0.8 * (as_floats - as_bits)


def test_rows_add_up_without_rounding_in_any_order():
    generator = np.random.default_rng(0)
    for count in (3, 64, 100):
        signs = np.packbits(generator.random((7, count)) < 0.5, axis=1)
        sums = generator.lognormal(sigma=4, size=7).astype("float32")
        rows = unpack(signs, sums, count)
        magnitudes = np.abs(rows)
        for order in (slice(None), slice(None, None, -1)):
            added = np.zeros(7, "float32")
            for column in magnitudes.T[order]:
                added += column
            np.testing.assert_array_equal(added, sums)
        assert np.ptp(magnitudes, axis=1).max() <= 2e-7 * sums.max()
        np.testing.assert_array_equal(np.packbits(rows > 0, axis=1), signs)


def test_a_weight_without_a_sign_keeps_its_tensor_in_floats(tmp_path):
    model = build()
    variable, function = binary_weights(model)[0]
    value = numpy(variable).copy()
    value[:, 0] = 0
    value[:2, 0] = 1, -1
    variable.assign(value)
    assert not numpy(function(variable.value))[2:, 0].any()
    path = tmp_path / "bits.safetensors"
    save_safetensors(model, path, binary=True)
    assert sum(name.endswith(".bits") for name in load_file(path)) == 13
    loaded = create_model(NAME, path, **SMALL)
    np.testing.assert_array_equal(logits(loaded), logits(model))
    assert pack(np.float32([[1, 0, -1]]), lambda rows: np.sign(rows)) is None


def test_a_damaged_file_is_one_line(model, tmp_path):
    path = tmp_path / "bits.safetensors"
    save_safetensors(model, path, binary=True)
    tensors = load_file(path)
    with safe_open(path, "numpy") as file:
        metadata = dict(file.metadata())
    name = next(name for name in tensors if name.endswith(".bits"))
    changed = {**tensors, name: tensors[name] ^ np.uint8(1)}
    save_file(changed, path, metadata)
    with pytest.raises(InputError, match=r"checksum of .*\.bits"):
        create_model(NAME, path, **SMALL)
    del metadata["crc32"]
    forms = json.loads(metadata["binary"])
    for wrong in ({"shape": [7, 9], "axis": 0}, {"shape": [48, 48], "axis": 2}, {}):
        forms[name.removesuffix(".bits")] = wrong
        save_file(tensors, path, {**metadata, "binary": json.dumps(forms)})
        with pytest.raises(InputError, match=r"corrupt: it says that .* is binary"):
            create_model(NAME, path, **SMALL)


def test_the_export_on_every_backend(model, tmp_path):
    model.save(tmp_path / "model.keras")
    lines = []
    folder = export_model(
        weights=str(tmp_path / "model.keras"),
        formats=["bits"],
        heads="class",
        output_dir=tmp_path / "out",
        print_fn=lines.append,
    )["bits"]
    assert folder == tmp_path / "out" / NAME / "bits" / "1"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["README.md", "labels.txt", "model.safetensors", "model_card.json"]
    assert not any("process of its own" in line for line in lines)
    weights = sum(int(np.prod(variable.shape)) for variable, _ in binary_weights(model))
    assert any(line.startswith(f"{weights:,} binary weights in") for line in lines)
    assert any("difference from the logits of the Keras model: 0.0e+00" in x for x in lines)
    loaded = create_model(NAME, folder / "model.safetensors", **SMALL)
    np.testing.assert_array_equal(logits(loaded), logits(model))


def test_other_models_are_refused(tmp_path):
    plain = create_model("deit_tiny_patch16_224", image_size=16, depth=1, embed_dim=24, num_heads=2)
    plain.save(tmp_path / "plain.keras")
    values = {"weights": str(tmp_path / "plain.keras"), "output_dir": tmp_path / "out"}
    with pytest.raises(InputError, match="deit_tiny_patch16_224 has no binary weights"):
        export_model(formats=["bits"], **values)
    with pytest.raises(InputError, match="The format bits has no int8"):
        export_model(formats=["bits"], quantize="int8", dataset="digits", **values)
