"""With the authors' weights, in every naming and kind of file, the logits are the authors'."""

import argparse

import numpy as np
import pytest
import torch
from harness import numpy
from published_cases import (
    CASES,
    DATA,
    RESIZED,
    SPECS,
    head_logits,
    published_logits,
    scrambled,
    tensors,
    timm_tensors,
    transformers_tensors,
    values,
)
from safetensors.numpy import save_file

import keras_deit
from keras_deit import create_model, load_pretrained


def as_torch(arrays):
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def behind_module(arrays):
    return {f"module.{name}": array for name, array in arrays.items()}


def training_checkpoint(arrays):
    """Returns what the authors' training writes; its averaged weights must not be read."""
    return {
        "model": arrays,
        "optimizer": {"state": {0: torch.ones(3)}, "param_groups": [{"lr": 0.1}]},
        "epoch": 299,
        "model_ema": {name: tensor + 1 for name, tensor in arrays.items()},
        "scaler": {"scale": 65536.0},
        "args": argparse.Namespace(model="deit", lr=5e-4),
    }


def save_torch(content, path, zipped=True):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)


LAYOUTS = {
    "model.safetensors": lambda case, path: save_file(
        {f"model.{name}": array for name, array in tensors(case).items()}, path
    ),
    "module.safetensors": lambda case, path: save_file(behind_module(tensors(case)), path),
    "flat.pth": lambda case, path: save_torch(as_torch(tensors(case)), path),
    "old_format.pth": lambda case, path: save_torch(as_torch(tensors(case)), path, zipped=False),
    "timm.bin": lambda case, path: save_torch(as_torch(timm_tensors(case)), path),
    "training.pth": lambda case, path: save_torch(
        training_checkpoint(as_torch(tensors(case))), path
    ),
    "nested_module.pth": lambda case, path: save_torch(
        training_checkpoint(as_torch(behind_module(tensors(case)))), path
    ),
    "state_dict.pt": lambda case, path: save_torch(
        {"state_dict": as_torch(behind_module(timm_tensors(case))), "epoch": 3}, path
    ),
}


def difference(model, outputs):
    received = head_logits(model, outputs["images"])
    expected = published_logits(outputs)
    assert received.keys() == expected.keys()
    return max(np.abs(received[name] - expected[name]).max() for name in expected)


def assert_logits_are_the_authors(case, file):
    model = scrambled(case)
    assert model.count_params() == SPECS[case]["params"]
    load_pretrained(model, file)
    assert difference(model, np.load(DATA / f"{case}.npz")) <= 1e-5


@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.parametrize("case", CASES)
def test_logits_are_the_authors(case):
    assert_logits_are_the_authors(case, DATA / f"{case}.safetensors")


@pytest.mark.parametrize("case", CASES)
def test_logits_are_the_authors_from_timm_names(case, tmp_path):
    save_file(timm_tensors(case), tmp_path / "timm.safetensors")
    assert_logits_are_the_authors(case, tmp_path / "timm.safetensors")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_are_the_authors_from_every_kind_of_file(layout, tmp_path):
    """With DeiT III, whose names at timm are others."""
    LAYOUTS[layout]("deit3", tmp_path / layout)
    assert_logits_are_the_authors("deit3", tmp_path / layout)


@pytest.mark.parametrize("case", ["deit", "deit_distilled"])
def test_logits_are_the_authors_from_transformers_names(case, tmp_path):
    save_file(transformers_tensors(case), tmp_path / "model.safetensors")
    assert_logits_are_the_authors(case, str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("case", ["deit_distilled", "cait"])
def test_logits_are_the_authors_from_files_nested_like_the_released_ones(case):
    assert_logits_are_the_authors(case, DATA / f"{case}_nested.pth")


@pytest.mark.parametrize("resized", RESIZED)
def test_logits_are_the_authors_at_another_size(resized):
    case, size = resized.split("_resized_")
    outputs = np.load(DATA / f"{resized}.npz")
    model = scrambled(case, int(size))
    load_pretrained(model, DATA / f"{case}.safetensors")
    positions = numpy(model.get_layer("position_embedding").positions)
    assert np.abs(positions - outputs["pos_embed"]).max() <= 1e-6
    assert np.abs(numpy(model(outputs["images"])) - outputs["logits"]).max() <= 1e-5


def test_create_model_loads_weights():
    model = create_model(**values("deit_distilled"), weights=DATA / "deit_distilled.safetensors")
    assert difference(model, np.load(DATA / "deit_distilled.npz")) <= 1e-5


def test_public_names():
    assert keras_deit.load_pretrained is load_pretrained
    assert keras_deit.pretrained.__all__ == [
        *("create_model", "load_pretrained", "save_safetensors")
    ]


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_other_floats_are_read(kind, suffix, tmp_path):
    from safetensors.torch import save_file as save_torch_file

    path = tmp_path / f"a.{suffix}"
    kept = {name: t.to(getattr(torch, kind)) for name, t in as_torch(tensors("deit")).items()}
    if suffix == "pth":
        torch.save(kept, path)
    else:
        save_torch_file(kept, path)
    model = scrambled("deit")
    load_pretrained(model, path)
    kernel = model.get_layer("class_head").kernel
    np.testing.assert_array_equal(numpy(kernel).T, kept["head.weight"].float().numpy())
    loosest = {"float16": 1e-2, "bfloat16": 1e-1, "float64": 1e-5}[kind]
    assert difference(model, np.load(DATA / "deit.npz")) <= loosest


def test_hmlp_stem_equals_pytorch(tmp_path):
    """Its tensors have the names that `torch.nn.Sequential` gives them."""
    size = {"image_size": 32, "patch_size": 16, "num_classes": 3}
    model = create_model(**values("deit3", stem="hmlp", **size))
    layers = (
        *(torch.nn.Conv2d(3, 12, 4, 4), torch.nn.BatchNorm2d(12), torch.nn.GELU()),
        *(torch.nn.Conv2d(12, 12, 2, 2), torch.nn.BatchNorm2d(12), torch.nn.GELU()),
        *(torch.nn.Conv2d(12, 48, 2, 2), torch.nn.BatchNorm2d(48)),
    )
    stem = torch.nn.Sequential(*layers)
    generator = torch.Generator().manual_seed(0)
    for tensor in stem.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.5)
    for norm in layers[1::3]:
        norm.running_var += 1
    path = tmp_path / "a.safetensors"
    keras_deit.pretrained.save_safetensors(model, path, naming="authors")
    from safetensors.numpy import load_file

    held = load_file(path)
    named = {f"patch_embed.proj.{name}": t.numpy() for name, t in stem.state_dict().items()}
    counts = {name for name in named if name.endswith("num_batches_tracked")}
    assert len(counts) == 3 and set(named) - set(held) == counts
    save_file({**held, **named}, path)
    load_pretrained(model, path)
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    with torch.no_grad():
        grid = stem.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    tokens = numpy(model.get_layer("patch_embedding")(images))
    np.testing.assert_allclose(tokens, grid.flatten(2).transpose(1, 2).numpy(), atol=1e-5)
