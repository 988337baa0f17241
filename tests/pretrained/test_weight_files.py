"""Files of weights that cannot be read, and this package's own files."""

import decimal
import pickle
import re
import sys

import h5py
import keras
import numpy as np
import pytest
import torch
from harness import numpy, randomize
from published_cases import DATA, scrambled, tensors, values
from safetensors.numpy import load_file, save_file

from keras_deit import InputError, create_model, load_pretrained
from keras_deit.pretrained import save_safetensors

TINY = "deit_tiny_patch16_224"
SMALL_VALUES = {
    "image_size": 8,
    "patch_size": 4,
    "embed_dim": 8,
    "depth": 2,
    "num_heads": 2,
    "num_classes": 3,
}
WHOLE = (DATA / "deit.safetensors").read_bytes()


def as_torch(arrays):
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def refusal(path):
    """Returns the error of a file, one line, after a check that the model has not changed."""
    model = scrambled("deit")
    before = [numpy(variable) for variable in model.variables]
    with pytest.raises(InputError) as error:
        load_pretrained(model, path)
    after = [numpy(variable) for variable in model.variables]
    assert all(map(np.array_equal, before, after))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "pt", "bin", "keras", "weights.h5"])
@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"no weights at all", b"text", b"\x80\x02}q\x00.", WHOLE[:1000], WHOLE[:-1]),
        *(b"PK\x03\x04" + bytes(60), bytes(4096)),
    ],
    ids=[
        *("empty", "text", "word", "pickle", "short header", "cut short"),
        *("zip", "zeros"),
    ],
)
def test_files_that_do_not_hold_what_their_name_says(content, suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    assert str(path) in refusal(path)


def test_a_missing_last_byte_is_noticed_in_every_format(tmp_path):
    model = create_model(**values("deit"))
    torch.save(as_torch(tensors("deit")), tmp_path / "a.pth")
    torch.save(as_torch(tensors("deit")), tmp_path / "old.pth",
               _use_new_zipfile_serialization=False)  # fmt: skip
    model.save(tmp_path / "a.keras")
    model.save_weights(tmp_path / "a.weights.h5")
    for path in sorted(tmp_path.iterdir()):
        path.write_bytes(path.read_bytes()[:-1])
        refusal(path)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "old.pth", "a.weights.h5", "a.keras"])
def test_a_file_that_is_corrupt_anywhere(name, tmp_path):
    """Cut off, or with other bytes near the start or the end, where a file describes itself."""
    model = create_model(TINY, **SMALL_VALUES)
    path = tmp_path / name
    if name.endswith(".safetensors"):
        save_safetensors(model, path)
    elif name.endswith(".pth"):
        save_safetensors(model, tmp_path / "a")
        content = as_torch(load_file(tmp_path / "a"))
        torch.save(content, path, _use_new_zipfile_serialization=name == "a.pth")
    elif name == "a.keras":
        model.save(path)
    else:
        model.save_weights(path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    before = [numpy(variable) for variable in model.variables]
    refused = 0
    for trial in range(15 if name == "a.keras" else 60):
        broken = np.frombuffer(whole, np.uint8).copy()
        if trial % 3 == 0:
            broken = broken[: rng.integers(len(whole))]
        else:
            places = rng.integers(3000, size=8) * (1 if trial % 3 == 1 else -1)
            broken[places % len(whole)] = rng.integers(256, size=8)
        path.write_bytes(broken.tobytes())
        try:
            load_pretrained(model, path)
        except InputError as error:
            assert str(path) in str(error).splitlines()[0]
            after = [numpy(variable) for variable in model.variables]
            assert all(map(np.array_equal, before, after))
            refused += 1
        else:  # Unused bytes were hit, or those of a number.
            for variable, value in zip(model.variables, before, strict=True):
                variable.assign(value)
    assert refused > trial / 3


def test_paths_that_are_not_weight_files(tmp_path):
    (tmp_path / "a.safetensors").mkdir()
    assert re.search(r"a\.safetensors.*directory", refusal(tmp_path / "a.safetensors"))
    assert re.search(r"no .*b\.pth", refusal(tmp_path / "b.pth"))
    (tmp_path / "empty").mkdir()
    line = refusal(tmp_path / "empty")
    assert "directory" in line and "model.safetensors" in line and "config.json of a run" in line


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(value, suffix, tmp_path):
    held = tensors("deit")
    held["blocks.2.mlp.fc2.bias"][-1] = value
    path = tmp_path / f"a.{suffix}"
    if suffix == "pth":
        torch.save(as_torch(held), path)
    else:
        save_file(held, path)
    assert re.search(rf"a\.{suffix} .*blocks\.2\.mlp\.fc2\.bias .*not finite", refusal(path))


def test_large_finite_values_are_loaded(tmp_path):
    """Their sum is not finite in float32."""
    held = tensors("deit")
    held["norm.weight"][:] = 3e38
    save_file(held, tmp_path / "a.safetensors")
    model = scrambled("deit")
    load_pretrained(model, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(numpy(model.get_layer("norm").gamma), held["norm.weight"])


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_integers_are_not_weights(suffix, tmp_path):
    held = {**tensors("deit"), "head.bias": np.arange(7)}
    path = tmp_path / f"a.{suffix}"
    if suffix == "pth":
        torch.save(as_torch(held), path)
    else:
        save_file(held, path)
    assert re.search(r"holds head\.bias as (I64|torch\.int64)", refusal(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(3)], "no model of a known family.* 0"),
        ({}, "no tensors by name"),
        (torch.ones(3), "no tensors by name.*without a name"),
        ({"model": {"a": 1}}, "no tensors by name"),
        ({0: torch.ones(3)}, "no model of a known family.* 0"),
        ({"model": {}, "args": decimal.Decimal(1)}, "no tensors by name"),
    ],
    ids=str,
)
def test_pytorch_files_without_tensors_by_name(content, message, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    assert re.search(message, refusal(tmp_path / "a.pth"))


@pytest.mark.parametrize(
    ("kind", "made"),
    [("sparse", torch.Tensor.to_sparse), ("meta", lambda tensor: tensor.to("meta"))],
)
def test_sparse_and_meta_tensors(kind, made, tmp_path):
    held = as_torch(tensors("deit"))
    held["norm.weight"] = made(held["norm.weight"])
    torch.save(held, tmp_path / "a.pth")
    assert re.search(rf"norm\.weight .*{kind} tensor", refusal(tmp_path / "a.pth"))


def test_pytorch_files_of_other_kinds(tmp_path):
    path = tmp_path / "a.pth"
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    assert "TorchScript" in refusal(path)
    path.write_bytes(pickle.dumps({"a": 1}, protocol=5))
    assert "torch.save did not write" in refusal(path)


@pytest.mark.parametrize(("flag", "value"), [(8, 1), (10, 99)], ids=["encrypted", "compressed"])
def test_zip_files_that_python_cannot_read(flag, value, tmp_path):
    """The directory at the end of the file says so; each of its entries starts with PK\\1\\2."""
    path = tmp_path / "a.keras"
    create_model(TINY, **SMALL_VALUES).save(path)
    content = bytearray(path.read_bytes())
    for entry in re.finditer(rb"PK\x01\x02", bytes(content)):
        content[entry.start() + flag] = value
    path.write_bytes(content)
    assert str(path) in refusal(path)


def test_a_file_without_tensors(tmp_path):
    save_file({}, tmp_path / "a.safetensors")
    assert "no tensors" in refusal(tmp_path / "a.safetensors")


def test_two_tensors_of_one_name(tmp_path):
    """One of them would be ignored."""
    held = tensors("deit")
    held["_orig_mod.norm.weight"] = held["norm.weight"] + 1
    save_file(held, tmp_path / "a.safetensors")
    torch.save(as_torch(held), tmp_path / "a.pth")
    for suffix in ("safetensors", "pth"):
        line = refusal(tmp_path / f"a.{suffix}")
        assert re.search(r"norm\.weight twice", line) and "_orig_mod.norm.weight" in line


def test_pytorch_files_are_read_without_pytorch(tmp_path, monkeypatch):
    torch.save(as_torch(tensors("deit")), tmp_path / "a.pth")
    model = scrambled("deit")
    monkeypatch.setitem(sys.modules, "torch", None)
    load_pretrained(model, tmp_path / "a.pth")
    np.testing.assert_array_equal(
        numpy(model.get_layer("norm").gamma), tensors("deit")["norm.weight"]
    )


def test_hdf5_files_that_are_not_weights(tmp_path):
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file["numbers"] = np.ones(3)
    assert "0 weights" in refusal(tmp_path / "a.weights.h5")


@pytest.mark.parametrize("moved", ["layer_normalization", "transformer_block/attention_branch"])
def test_own_weights_that_fit_in_part_do_not_change_the_model(moved, tmp_path):
    """The shapes are those of the model, but in other layers."""
    path = tmp_path / "a.weights.h5"
    create_model(**values("deit")).save_weights(path)
    with h5py.File(path, "r+") as file:
        file["layers"].move(moved, "strange")
    assert "does not fit" in refusal(path)


def test_own_weights_are_loaded(tmp_path):
    path = tmp_path / "a.weights.h5"
    model = create_model(TINY, **SMALL_VALUES)
    randomize(model)
    model.save_weights(path)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    for given in (path, str(path)):
        loaded = create_model(TINY, weights=given, **SMALL_VALUES)
        np.testing.assert_array_equal(numpy(loaded(images)), numpy(model(images)))


def test_own_weights_of_a_compiled_and_trained_model_are_loaded(tmp_path):
    """The file holds the optimizer's variables too."""
    model = create_model(TINY, **SMALL_VALUES)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    model.compile(optimizer="adam", loss="mse", jit_compile=False)
    model.train_on_batch(images, np.zeros((2, 3)))
    model.save_weights(tmp_path / "a.weights.h5")
    loaded = create_model(TINY, weights=tmp_path / "a.weights.h5", **SMALL_VALUES)
    np.testing.assert_array_equal(numpy(loaded(images)), numpy(model(images)))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"distilled": True}, "32 weights.*35"),
        ({"depth": 1}, "32 weights.*20"),
        ({"depth": 3}, "32 weights.*44"),
        ({"mlp_ratio": 2.0}, r"\(8, 32\).*\(8, 16\)"),
    ],
    ids=str,
)
def test_own_weights_of_another_model_are_an_error(changed, reason, tmp_path):
    path = tmp_path / "a.weights.h5"
    create_model(TINY, **SMALL_VALUES).save_weights(path)
    message = rf"a\.weights\.h5 .*deit_tiny_patch16_224.*{reason}"
    with pytest.raises(InputError, match=message) as error:
        create_model(TINY, weights=path, **{**SMALL_VALUES, **changed})
    assert "\n" not in str(error.value)


def test_our_keras_files_are_loaded(tmp_path):
    """The random state of stochastic depth is not a weight, and the image size may be another."""
    model = create_model(**values("deit", drop_path_rate=0.2))
    load_pretrained(model, DATA / "deit.safetensors")
    model.compile(optimizer="adam", loss="mse")
    model.save(tmp_path / "a.keras")
    outputs = np.load(DATA / "deit.npz")
    twin = create_model(**values("deit"), weights=tmp_path / "a.keras")
    assert np.abs(numpy(twin(outputs["images"])) - outputs["logits"]).max() <= 1e-5
    larger = create_model(**values("deit", image_size=72), weights=tmp_path / "a.keras")
    published = create_model(**values("deit", image_size=72), weights=DATA / "deit.safetensors")
    for received, expected in zip(larger.weights, published.weights, strict=True):
        np.testing.assert_array_equal(numpy(received), numpy(expected))


def test_keras_files_of_other_models_are_an_error(tmp_path):
    path = tmp_path / "a.keras"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)
    assert re.search(r"a\.keras .*Sequential", refusal(path))
    create_model(**values("resmlp")).save(path)
    assert re.search(r"a\.keras .*ResMLP.*deit_tiny_patch16_224.*DeiT", refusal(path))


def test_weights_are_not_loaded_into_other_keras_models():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(InputError, match="Sequential"):
        load_pretrained(model, DATA / "deit.safetensors")


def test_random_states_are_not_loaded():
    model = create_model(**values("deit", drop_path_rate=0.3))
    model.compile(optimizer="sgd", loss="mse", jit_compile=False)
    model.train_on_batch(np.zeros((2, 48, 48, 3)), np.zeros((2, 7)))
    weights = {id(weight) for weight in model.weights}
    others = [variable for variable in model.variables if id(variable) not in weights]
    before = [np.array(variable) for variable in others]
    load_pretrained(model, DATA / "deit.safetensors")
    assert before and all(map(np.array_equal, before, map(np.array, others)))


@pytest.mark.parametrize("weights", [True, 3, ["a.pth"]])
def test_weights_are_named_by_a_path(weights):
    with pytest.raises(InputError, match=r"path.*Received"):
        create_model("deit_tiny_patch16_224", weights)
