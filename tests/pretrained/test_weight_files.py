"""What can be wrong with a file of weights, and this package's own files."""

import decimal
import fractions
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
    """The one line that is said, after a look at the model."""
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
def test_files_that_are_not_what_they_are_called(content, suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    assert str(path) in refusal(path)


def test_cut_short_by_one_byte_is_seen_in_every_format(tmp_path):
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
def test_broken_anywhere(name, tmp_path):
    """Cut, or with other bytes near its start or its end, where it says what it holds."""
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
        else:  # what was hit says nothing, or is a number among others
            for variable, value in zip(model.variables, before, strict=True):
                variable.assign(value)
    assert refused > trial / 3


def test_what_is_no_file(tmp_path):
    (tmp_path / "a.safetensors").mkdir()
    assert refusal(tmp_path / "a.safetensors").endswith("a.safetensors' is a directory, "
                                                        "not a weights file.")  # fmt: skip
    assert refusal(tmp_path / "b.pth") == f"There is no weights file '{tmp_path}/b.pth'."
    assert refusal("weights.npz") == (
        "Weights should be a file (.safetensors, .pth, .pt, .bin, .keras, .weights.h5) or "
        "hf://OWNER/NAME, not 'weights.npz'."
    )


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
    message = "a is broken: blocks.2.mlp.fc2.bias has values that are not finite."
    assert refusal(path).endswith(message.replace("a is", f"a.{suffix} is"))


def test_large_values_are_fine(tmp_path):
    """Their sum is not finite in float32."""
    held = tensors("deit")
    held["norm.weight"][:] = 3e38
    save_file(held, tmp_path / "a.safetensors")
    model = scrambled("deit")
    load_pretrained(model, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(numpy(model.get_layer("norm").gamma), held["norm.weight"])


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_that_are_integers(suffix, tmp_path):
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
        ([torch.ones(3)], "holds no tensors by name, but a list"),
        ({}, "holds no tensors by name, but a dict"),
        (torch.ones(3), "holds no tensors by name, but a Tensor"),
        ({"model": {"a": 1}}, "its 'a' is a int"),
        ({"norm.weight": torch.ones(3), "epoch": 3}, "its 'epoch' is a int"),
        ({0: torch.ones(3)}, "holds no tensors by name; it has one under 0"),
        ({"model": {}, "args": decimal.Decimal(1)}, "wants to run decimal.Decimal; only files"),
        ({"model": {}, "args": fractions.Fraction(1)}, "wants to run fractions.Fraction; only"),
    ],
    ids=str,
)
def test_pytorch_files_of_something_else(content, message, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    assert re.search(message, refusal(tmp_path / "a.pth"))


@pytest.mark.parametrize(
    ("kind", "made"),
    [("sparse", torch.Tensor.to_sparse), ("meta", lambda tensor: tensor.to("meta"))],
)
def test_tensors_that_are_not_plain(kind, made, tmp_path):
    held = as_torch(tensors("deit"))
    held["norm.weight"] = made(held["norm.weight"])
    torch.save(held, tmp_path / "a.pth")
    message = f"holds norm.weight as a {kind} tensor, not as a plain one."
    assert refusal(tmp_path / "a.pth").endswith(message)


def test_nobody_is_told_to_run_what_is_in_a_file(tmp_path):
    """PyTorch's own advice is to read it again without weights_only."""
    path = tmp_path / "a.pth"
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    assert "holds a TorchScript program; only files of plain tensors" in refusal(path)
    path.write_bytes(pickle.dumps({"a": 1}, protocol=5))
    assert refusal(path) == f"{path} cannot be read as a PyTorch file: Unsupported operand 149"


@pytest.mark.parametrize(("flag", "value"), [(8, 1), (10, 99)], ids=["encrypted", "compressed"])
def test_zip_files_of_another_kind(flag, value, tmp_path):
    """In the directory at the end of the file, where each entry starts with PK\\1\\2."""
    path = tmp_path / "a.keras"
    create_model(TINY, **SMALL_VALUES).save(path)
    content = bytearray(path.read_bytes())
    for entry in re.finditer(rb"PK\x01\x02", bytes(content)):
        content[entry.start() + flag] = value
    path.write_bytes(content)
    assert refusal(path).startswith(f"{path} cannot be read as a Keras file: ")


def test_a_file_of_no_tensors(tmp_path):
    save_file({}, tmp_path / "a.safetensors")
    assert refusal(tmp_path / "a.safetensors").endswith("a.safetensors holds no tensors.")


def test_a_name_that_is_there_twice(tmp_path):
    """One of the two would be left out unseen."""
    held = tensors("deit")
    held["module.norm.weight"] = held["norm.weight"] + 1
    save_file(held, tmp_path / "a.safetensors")
    torch.save(as_torch(held), tmp_path / "a.pth")
    for suffix in ("safetensors", "pth"):
        line = refusal(tmp_path / f"a.{suffix}")
        assert re.search(r"holds norm\.weight twice, as (module\.)?norm.* and as .*weight\.$", line)


def test_pytorch_files_need_pytorch(tmp_path, monkeypatch):
    torch.save(as_torch(tensors("deit")), tmp_path / "a.pth")
    model = scrambled("deit")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"needs PyTorch, which is not installed; a \.safetensors"):
        load_pretrained(model, tmp_path / "a.pth")


def test_hdf5_of_something_else(tmp_path):
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file["numbers"] = np.ones(3)
    assert "it holds 0 weights" in refusal(tmp_path / "a.weights.h5")


@pytest.mark.parametrize("moved", ["layer_normalization", "transformer_block/attention_branch"])
def test_own_weights_that_fit_in_part_leave_the_model_as_it_was(moved, tmp_path):
    """The shapes are those of the model, in other layers."""
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
    """Its file holds the optimizer's variables too."""
    model = create_model(TINY, **SMALL_VALUES)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    model.compile(optimizer="adam", loss="mse")
    model.train_on_batch(images, np.zeros((2, 3)))
    model.save_weights(tmp_path / "a.weights.h5")
    loaded = create_model(TINY, weights=tmp_path / "a.weights.h5", **SMALL_VALUES)
    np.testing.assert_array_equal(numpy(loaded(images)), numpy(model(images)))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"distilled": True}, "it holds 32 weights, the model has 35"),
        ({"depth": 1}, "it holds 32 weights, the model has 20"),
        ({"depth": 3}, "it holds 32 weights, the model has 44"),
        ({"num_classes": 4}, r"it holds shapes \(3,\), \(8, 3\) where the model has \(4,\), "),
    ],
    ids=str,
)
def test_own_weights_of_another_model_are_refused(changed, reason, tmp_path):
    path = tmp_path / "a.weights.h5"
    create_model(TINY, **SMALL_VALUES).save_weights(path)
    message = rf"a\.weights\.h5 does not fit deit_tiny_patch16_224: .*{reason}"
    with pytest.raises(InputError, match=message) as error:
        create_model(TINY, weights=path, **{**SMALL_VALUES, **changed})
    assert "\n" not in str(error.value)


def test_keras_files_of_ours_are_loaded(tmp_path):
    """With the stochastic depth's random state, which is no weight, and another image size."""
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


def test_keras_files_of_other_models_are_refused(tmp_path):
    path = tmp_path / "a.keras"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)
    assert refusal(path) == f"{path} holds a Sequential, no model of this package."
    create_model(**values("resmlp")).save(path)
    assert refusal(path) == f"{path} holds a ResMLP; deit_tiny_patch16_224 is a DeiT."


def test_models_of_others_are_refused():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(InputError, match=r"Only models of this package can take .* a Sequential"):
        load_pretrained(model, DATA / "deit.safetensors")


def test_random_states_are_left_alone():
    model = create_model(**values("deit", drop_path_rate=0.3))
    model.compile(optimizer="sgd", loss="mse")
    model.train_on_batch(np.zeros((2, 48, 48, 3)), np.zeros((2, 7)))
    weights = {id(weight) for weight in model.weights}
    others = [variable for variable in model.variables if id(variable) not in weights]
    before = [np.array(variable) for variable in others]
    load_pretrained(model, DATA / "deit.safetensors")
    assert before and all(map(np.array_equal, before, map(np.array, others)))
