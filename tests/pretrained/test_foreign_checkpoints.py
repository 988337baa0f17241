"""Checkpoints as people have them: any name, any nest, any wrapper, with or without heads."""

import argparse
import datetime
import json
import logging
import os
import pathlib
import pickle
import re

import keras
import numpy as np
import pytest
import torch
from harness import numpy, randomize
from published_cases import CASES, tensors, values
from safetensors.numpy import load_file, save_file

from keras_deit import InputError, create_model, load_pretrained
from keras_deit.pretrained import save_safetensors
from keras_deit.pretrained.conversion import model_from

PLAIN = "deit_tiny_patch16_224"
DISTILLED = "deit_tiny_distilled_patch16_224"
SIZES = {"image_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """The weights of a plain and of a distilled model by timm's names."""
    held = {}
    for seed, name in enumerate((PLAIN, DISTILLED)):
        model = create_model(name, num_classes=10, **SIZES)
        randomize(model, 3.0 + seed)
        path = tmp_path_factory.mktemp(name) / "a.safetensors"
        save_safetensors(model, path)
        held[name] = load_file(path)
    return held


@pytest.fixture(scope="module")
def models():
    return {name: create_model(name, num_classes=10, **SIZES) for name in (PLAIN, DISTILLED)}


@pytest.fixture
def state(states):
    return states[PLAIN]


@pytest.fixture
def model(models):
    randomize(models[PLAIN], 9.0)
    return models[PLAIN]


@pytest.fixture
def lines(caplog):
    """A function that returns what was said to the user since the last call."""
    caplog.set_level(logging.WARNING, "keras_deit")

    def said():
        messages = [record.getMessage() for record in caplog.records]
        caplog.clear()
        assert not any("\n" in message for message in messages)
        return messages

    return said


def as_torch(state):
    return {name: torch.from_numpy(array.copy()) for name, array in state.items()}


def behind(prefix, state):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def body_of(state):
    return {name: tensor for name, tensor in state.items() if not name.startswith("head")}


def held_by(model, tmp_path):
    save_safetensors(model, tmp_path / "held.safetensors")
    return load_file(tmp_path / "held.safetensors")


def assert_holds(model, state, tmp_path, but=()):
    held = held_by(model, tmp_path)
    for name in state.keys() - set(but):
        np.testing.assert_array_equal(held[name], np.asarray(state[name]), name)


def logits(model):
    height, width = model.input_shape[1:3]
    images = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype("float32")
    return numpy(model(images))


def assert_same_bodies(model, expected):
    for weight, other in zip(model.weights, expected.weights, strict=True):
        if not weight.path.startswith("class_head"):
            np.testing.assert_array_equal(numpy(weight), numpy(other), weight.path)


class Anything:
    """An object of a training library, which is not installed where the file is read."""

    def __init__(self):
        self.values = {"lr": 0.1}


def lightning(state):
    """What a checkpoint of PyTorch Lightning holds."""
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.5",
        "state_dict": {**behind("model.", state), "criterion.weight": torch.ones(10)},
        "callbacks": {"ModelCheckpoint": {"best": torch.tensor(0.3), "path": pathlib.Path("/a")}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{}]}],
        "hyper_parameters": argparse.Namespace(model=Anything(), when=datetime.date(2026, 1, 1)),
        "best": np.float64(0.5),
    }


@pytest.mark.parametrize(
    "name", ["model_best.pth.tar", "last.ckpt", "a.pyth", "MODEL.PTH", "weights", "a.safetensors"]
)
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "npz"])
def test_the_format_is_told_by_content(name, kind, state, model, tmp_path):
    path = tmp_path / name
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "npz":
        with path.open("wb") as file:
            np.savez(file, **state)
    else:
        content = {"state_dict": as_torch(state), "epoch": 3}
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    load_pretrained(model, path)
    assert_holds(model, state, tmp_path)


@pytest.mark.parametrize("suffix", ["", ".pth"])
def test_this_packages_own_formats_under_any_name(suffix, state, model, tmp_path):
    save_file(state, tmp_path / "a")
    load_pretrained(model, tmp_path / "a")
    model.save(tmp_path / "a.keras")
    model.save_weights(tmp_path / "a.weights.h5")
    for name in ("a.keras", "a.weights.h5"):
        path = (tmp_path / name).rename(tmp_path / f"b{suffix}")
        randomize(model, 9.0)
        load_pretrained(model, path)
        assert_holds(model, state, tmp_path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "pointer of Git LFS"),
        (b"\n<!DOCTYPE html><html>", "page"),
        (b"not found", "text"),
        (b"\x1f\x8b\x08", "gzip"),
        (bytes(257) + b"ustar", "tar archive"),
        (bytes(300), "unknown"),
    ],
    ids=str,
)
def test_what_is_no_file_of_weights_is_named_in_one_line(content, what, model, tmp_path):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.pth holds .*{what}.*safetensors") as error:
        load_pretrained(model, tmp_path / "a.pth")
    assert "\n" not in str(error.value)


def test_objects_in_a_checkpoint_are_skipped(state, model, tmp_path, lines):
    torch.save(lightning(as_torch(state)), tmp_path / "last.ckpt")
    load_pretrained(model, tmp_path / "last.ckpt")
    assert_holds(model, state, tmp_path)
    (line,) = lines()
    assert "criterion" in line and "1 tensors" in line


def test_tensors_that_share_their_memory(state, model, tmp_path):
    """They are views, transposed or parameters, as PyTorch saves them."""
    held = as_torch(state)
    width = SIZES["embed_dim"]
    both = torch.cat([held["norm.weight"], torch.zeros(3), held["norm.bias"]])
    held["norm.weight"], held["norm.bias"] = both[:width], both[-width:]
    kernel = held["head.weight"]
    held["head.weight"] = torch.nn.Parameter(kernel.T.contiguous().T)
    for zipped in (True, False):
        torch.save(held, tmp_path / "a", _use_new_zipfile_serialization=zipped)
        randomize(model, 9.0)
        load_pretrained(model, tmp_path / "a")
        assert_holds(model, state, tmp_path)


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_run(zipped, state, model, tmp_path):
    """Neither what it would import nor what it would call."""
    path = tmp_path / "a.pth"
    held = {"model": as_torch(state), "attack": Attack(str(tmp_path / "made"))}
    torch.save(held, path, _use_new_zipfile_serialization=zipped)
    load_pretrained(model, path)
    assert_holds(model, state, tmp_path)
    (tmp_path / "plain").write_bytes(pickle.dumps(Attack(str(tmp_path / "made"))))
    with pytest.raises(InputError, match=r"torch\.save"):
        load_pretrained(model, tmp_path / "plain")
    assert not (tmp_path / "made").exists()


def test_a_model_that_was_saved_as_a_whole(state, model, tmp_path):
    whole = torch.nn.Module()
    for name, tensor in as_torch(state).items():
        *parts, leaf = name.split(".")
        module = whole
        for part in parts:
            if part not in module._modules:
                module.add_module(part, torch.nn.Module())
            module = module._modules[part]
        module.register_parameter(leaf, torch.nn.Parameter(tensor))
    torch.save({"model": whole, "epoch": 3}, tmp_path / "a.pt")
    load_pretrained(model, tmp_path / "a.pt")
    assert_holds(model, state, tmp_path)


@pytest.mark.parametrize(
    "prefix",
    [
        *("_orig_mod.", "module._orig_mod.", "model._orig_mod.module.", "module.module."),
        *("backbone.", "net.", "encoder.", "student.", "a.b.c."),
    ],
)
@pytest.mark.parametrize("nest", [(), ("model_state_dict",), ("checkpoint", "net")])
def test_wrappers_and_nests_are_stripped(prefix, nest, state, model, tmp_path, lines):
    content = behind(prefix, as_torch(state))
    for key in reversed(nest):
        content = {key: content, "epoch": 3}
    torch.save(content, tmp_path / "a.pth")
    load_pretrained(model, tmp_path / "a.pth")
    assert_holds(model, state, tmp_path)
    assert not lines()


def test_wrappers_within_names_and_heads_beside_a_wrapped_body(state, model, tmp_path, lines):
    compiled = {re.sub(r"(blocks\.\d\.)", r"\1_orig_mod.", name): t for name, t in state.items()}
    heads = {name: state[name] for name in state.keys() - body_of(state).keys()}
    for held in (compiled, {**behind("module.", body_of(state)), **heads}):
        save_file(held, tmp_path / "a")
        randomize(model, 9.0)
        load_pretrained(model, tmp_path / "a")
        assert_holds(model, state, tmp_path)
    assert not lines()


@pytest.mark.parametrize(
    ("keys", "asked"),
    [
        (("model", "model_ema"), "ema"),
        (("state_dict", "state_dict_ema"), "state_dict_ema"),
        (("student", "teacher"), "teacher"),
        (("net", "averaged"), "ema"),
        (("model", "model-ema"), "ema"),
        (("model", "modelEma"), "modelEma"),
        (("model", "EMAModel"), "ema"),
    ],
)
def test_averages_and_teachers_are_taken_only_if_asked(keys, asked, state, model, tmp_path, lines):
    average = {name: tensor + 1 for name, tensor in state.items()}
    # The average comes first.
    held = {keys[1]: behind("module.", as_torch(average)), keys[0]: as_torch(state)}
    path = tmp_path / "a.pth"
    torch.save(held, path)
    load_pretrained(model, path)
    assert_holds(model, state, tmp_path)
    (line,) = lines()
    assert f"taken: {keys[0]};" in line and f"#{keys[1]}" in line
    load_pretrained(model, f"{path}#{asked}")
    assert_holds(model, average, tmp_path)
    assert f"taken: {keys[1]};" in lines()[0]
    with pytest.raises(InputError, match=f"'swag'; it has {keys[0]}, {keys[1]}"):
        load_pretrained(model, f"{path}#swag")
    torch.save({keys[1]: as_torch(average)}, path)
    load_pretrained(model, path)
    assert keys[1] in lines()[0]


def test_averages_that_only_prefixes_tell_apart(state, model, tmp_path, lines):
    average = {name: tensor + 1 for name, tensor in state.items()}
    path = tmp_path / "a#1"
    save_file({**behind("ema_model.", average), **behind("model.", state)}, path)
    load_pretrained(model, path)
    assert_holds(model, state, tmp_path)
    assert len(lines()) == 1
    assert_holds(model_from(f"{path}#ema", PLAIN, **SIZES), average, tmp_path)


@pytest.mark.parametrize("num_classes", [10, 5])
@pytest.mark.parametrize("name", [PLAIN, DISTILLED])
def test_a_body_without_a_head(name, num_classes, states, tmp_path, lines):
    body = body_of(states[name])
    save_file(body, tmp_path / "a")
    model = create_model(name, tmp_path / "a", num_classes, **SIZES)
    assert_holds(model, body, tmp_path)
    assert 0.01 < numpy(model.get_layer("class_head").kernel).std() < 0.03
    (line,) = lines()
    assert "class_head" in line and ("distillation_head" in line) == (name == DISTILLED)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("changed", [{}, {"num_classes": 3}])
def test_bodies_of_every_family(case, changed, tmp_path, lines):
    """With one token for each class, the tokens are loaded if they are as many."""
    body = body_of(tensors(case))
    save_file(behind("model.", body), tmp_path / "a")
    model = create_model(**values(case, **changed), weights=tmp_path / "a")
    save_safetensors(model, tmp_path / "held.safetensors", naming="authors")
    held = load_file(tmp_path / "held.safetensors")
    fresh = ["cls_token"] if case == "patchconvnet_multi" and changed else []
    for name in body.keys() - set(fresh):
        np.testing.assert_array_equal(held[name], body[name], name)
    for name in fresh:
        assert held[name].shape[1] == 3 and np.isfinite(held[name]).all()
    assert "class_head" in lines()[-1]


def test_a_masked_autoencoder(state, model, tmp_path, lines):
    """Its decoder is named and counted, and not taken for the model."""
    decoder = {f"decoder_blocks.{i}.norm1.weight": np.ones(8, "float32") for i in range(3)}
    decoder |= {"mask_token": np.ones((1, 1, 8), "float32"), "decoder_pred.bias": np.ones(3)}
    save_file({**body_of(state), **decoder}, tmp_path / "a")
    load_pretrained(model, tmp_path / "a")
    assert_holds(model, body_of(state), tmp_path)
    head, left_out = lines()
    assert "class_head" in head
    assert "5 tensors" in left_out and "mask_token" in left_out and "decoder_blocks (3)" in left_out


def test_self_distillation(state, model, tmp_path, lines):
    """DINO's checkpoint: two networks with heads of their own."""
    head = {f"head.mlp.{i}.weight": torch.ones(3) for i in (0, 2)}
    network = {**behind("backbone.", as_torch(body_of(state))), **head}
    other = {name: tensor + 1 for name, tensor in network.items()}
    held = {"student": behind("module.", network), "teacher": other, "dino_loss": {"center": 1}}
    torch.save(held, tmp_path / "a.pth")
    load_pretrained(model, tmp_path / "a.pth")
    assert_holds(model, body_of(state), tmp_path)
    taken, fresh, left_out = lines()
    assert "taken: student" in taken and "class_head" in fresh and "head (2)" in left_out
    load_pretrained(model, f"{tmp_path / 'a.pth'}#teacher")
    np.testing.assert_array_equal(
        held_by(model, tmp_path)["norm.bias"], other["backbone.norm.bias"].numpy()
    )


@pytest.mark.parametrize(
    "extra", ["reg_token", "fc_norm.weight", "blocks.0.attn.proj_l.bias", "blocks.2.norm1.weight"]
)
def test_what_computes_something_else_is_not_left_out(extra, state, model, tmp_path):
    save_file({**body_of(state), extra: np.ones(24, "float32")}, tmp_path / "a")
    with pytest.raises(InputError, match=re.escape(extra)):
        load_pretrained(model, tmp_path / "a")


def transformers_names(state, prefix, head):
    """Returns a state dict by transformers' names; a prefix for the body, a name for the head."""
    renamed = {}
    for name, tensor in state.items():
        if qkv := re.fullmatch(r"(blocks\.\d+)\.attn\.qkv\.(\w+)", name):
            for part, values in zip(("query", "key", "value"), np.split(tensor, 3), strict=True):
                renamed[f"{qkv[1]}.attention.attention.{part}.{qkv[2]}"] = values
        else:
            renamed[name] = tensor
    pairs = (
        ("cls_token", "embeddings.cls_token"), ("dist_token", "embeddings.distillation_token"),
        ("pos_embed", "embeddings.position_embeddings"), ("attn.proj", "attention.output.dense"),
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        ("norm1", "layernorm_before"), ("norm2", "layernorm_after"),
        ("mlp.fc1", "intermediate.dense"), ("mlp.fc2", "output.dense"),
        (r"^norm", "layernorm"), (r"^blocks", "encoder.layer"),
    )  # fmt: skip
    result = {}
    for name, tensor in renamed.items():
        if name.startswith("head."):
            result[name.replace("head", head)] = tensor
            continue
        for old, new in pairs:
            name = re.sub(old, new, name)
        result[f"{prefix}{name}"] = tensor
    return {name: tensor.copy() for name, tensor in result.items()}


def names_in_memory(state):
    """Returns a state dict by the names that transformers 5 has in memory."""
    pairs = (
        ("encoder.layer.", "layers."), ("attention.attention.query", "attention.q_proj"),
        ("attention.attention.key", "attention.k_proj"),
        ("attention.attention.value", "attention.v_proj"),
        ("attention.output.dense", "attention.o_proj"), ("intermediate.dense", "mlp.fc1"),
        ("output.dense", "mlp.fc2"),
    )  # fmt: skip
    for old, new in pairs:
        state = {name.replace(old, new): tensor for name, tensor in state.items()}
    return state


def test_the_names_that_transformers_5_has_in_memory(states, models, tmp_path, lines):
    held = transformers_names(states[DISTILLED], "deit.", "cls_classifier")
    held = {
        name.replace("deit.head_dist", "distillation_classifier"): t for name, t in held.items()
    }
    save_file(names_in_memory(held), tmp_path / "a")
    randomize(models[DISTILLED], 9.0)
    load_pretrained(models[DISTILLED], tmp_path / "a")
    assert_holds(models[DISTILLED], states[DISTILLED], tmp_path)
    assert not lines()


@pytest.mark.parametrize("prefix", ["", "vit.", "model.vit."])
def test_transformers_models_without_and_with_a_head(prefix, state, model, tmp_path, lines):
    body = transformers_names(body_of(state), prefix, "")
    pooler = {f"{prefix}pooler.dense.bias": np.ones(24, "float32")}
    save_file({**body, **pooler}, tmp_path / "a")
    load_pretrained(model, tmp_path / "a")
    assert_holds(model, body_of(state), tmp_path)
    assert len(lines()) == 1
    save_file(transformers_names(state, prefix, "classifier"), tmp_path / "b")
    load_pretrained(model, tmp_path / "b")
    assert_holds(model, state, tmp_path)
    assert not lines()


def test_a_distilled_body_with_one_head(states, models, tmp_path, lines):
    """transformers' DeiTForImageClassification."""
    state = {name: t for name, t in states[DISTILLED].items() if "head_dist" not in name}
    save_file(transformers_names(state, "deit.", "classifier"), tmp_path / "a")
    model = models[DISTILLED]
    randomize(model, 9.0)
    load_pretrained(model, tmp_path / "a")
    assert_holds(model, state, tmp_path)
    (line,) = lines()
    assert "distillation_head" in line and "model.heads['class']" in line


@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.parametrize("image_size", [16, 32])
def test_a_plain_file_in_a_distilled_model(image_size, state, tmp_path, lines):
    """The token, its position and its head start fresh; the other positions are the file's."""
    save_file(state, tmp_path / "a")
    sizes = {**SIZES, "image_size": image_size}
    model = create_model(DISTILLED, tmp_path / "a", 10, **sizes)
    plain = create_model(PLAIN, tmp_path / "a", 10, **sizes)
    held = held_by(model, tmp_path)
    assert_holds(model, state, tmp_path, but=["pos_embed"])
    positions = numpy(plain.get_layer("position_embedding").positions)
    np.testing.assert_array_equal(held["pos_embed"][:, [0, *range(2, held["pos_embed"].shape[1])]],
                                  positions)  # fmt: skip
    for fresh in (held["dist_token"], held["pos_embed"][:, 1], held["head_dist.weight"]):
        assert 0.005 < fresh.std() < 0.04
    (line,) = lines()
    for part in ("distillation_token", "distillation_head", "row of position_embedding"):
        assert part in line


@pytest.mark.parametrize("image_size", [16, 32])
def test_a_distilled_file_in_a_plain_model_if_asked(image_size, states, tmp_path, lines):
    state, sizes = states[DISTILLED], {**SIZES, "image_size": image_size}
    save_file(state, tmp_path / "a")
    with pytest.raises(InputError, match="#without_distillation"):
        create_model(PLAIN, tmp_path / "a", 10, **sizes)
    model = create_model(PLAIN, f"{tmp_path / 'a'}#without_distillation", 10, **sizes)
    distilled = create_model(DISTILLED, tmp_path / "a", 10, **sizes)
    assert_holds(model, {n: t for n, t in state.items() if "dist" not in n}, tmp_path,
                 but=["pos_embed"])  # fmt: skip
    positions = numpy(distilled.get_layer("position_embedding").positions)
    np.testing.assert_array_equal(
        numpy(model.get_layer("position_embedding").positions), np.delete(positions, 1, axis=1)
    )
    (line,) = lines()
    assert "3 tensors" in line and "dist_token, head_dist (2)" in line


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """The directory of a finished run for images of 16×24 pixels and 10 classes."""
    folder = tmp_path_factory.mktemp("run")
    values = {"name": PLAIN, "num_classes": 10, **SIZES, "image_size": (16, 24)}
    (folder / "config.json").write_text(json.dumps({"run": {}, "model": values}))
    model = create_model(**values)
    for seed, name in enumerate(("final", "best", "ema")):
        randomize(model, 3.0 + seed)
        model.save_weights(folder / f"{name}.weights.h5")
        save_safetensors(model, folder / f"{name}.safetensors")
    return folder


@pytest.mark.parametrize(
    ("given", "file"),
    [("", "final"), ("#ema", "ema"), ("#best", "best"), ("/final.weights.h5", "final")],
)
@pytest.mark.parametrize("changed", [{}, {"num_classes": 4}, {"image_size": 32, "num_classes": 3}])
def test_the_files_of_a_run(given, file, changed, run_dir):
    """They fit another number of classes and image size, as their safetensors do."""
    values = {"num_classes": 10, **SIZES, "image_size": (16, 24), **changed}
    model = create_model(PLAIN, f"{run_dir}{given}", **values)
    expected = create_model(PLAIN, run_dir / f"{file}.safetensors", **values)
    assert_same_bodies(model, expected)
    if not changed:
        np.testing.assert_array_equal(logits(model), logits(expected))


def test_a_run_says_its_model_and_what_it_lacks(run_dir, tmp_path):
    assert model_from(f"{run_dir}#ema").input_shape == (None, 16, 24, 3)
    assert model_from(run_dir, image_size=32).input_shape == (None, 32, 32, 3)
    with pytest.raises(InputError, match=r"weights of a run 'emma'.*ema"):
        model_from(f"{run_dir}#emma")
    with pytest.raises(InputError, match="'ema', but the file has one set"):
        model_from(run_dir / "final.weights.h5#ema")
    (tmp_path / "config.json").write_text((run_dir / "config.json").read_text())
    with pytest.raises(InputError, match="not finished"):
        model_from(tmp_path)


@pytest.mark.parametrize("changed", [{"num_classes": 4}, {"image_size": 32, "num_classes": 3}])
def test_own_weights_alone_say_their_sizes(changed, state, model, tmp_path, lines):
    save_file(state, tmp_path / "a")
    load_pretrained(model, tmp_path / "a")
    model.save_weights(tmp_path / "a.weights.h5")
    values = {"num_classes": 10, **SIZES, **changed}
    found, expected = (
        create_model(PLAIN, tmp_path / name, **values) for name in ("a.weights.h5", "a")
    )
    assert_same_bodies(found, expected)
    assert all("number of classes" in line for line in lines())


def save_shards(state, folder, kind):
    names = list(state)
    parts = {"1": names[::2], "2": names[1::2]}
    stem = "model" if kind == "safetensors" else "pytorch_model"
    places = {}
    for number, held in parts.items():
        file = f"{stem}-0000{number}-of-00002.{kind}"
        places |= dict.fromkeys(held, file)
        if kind == "safetensors":
            save_file({name: state[name] for name in held}, folder / file)
        else:
            torch.save(as_torch({name: state[name] for name in held}), folder / file)
    index = folder / f"{stem}.{kind}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards(kind, state, model, tmp_path):
    index = save_shards(transformers_names(state, "vit.", "classifier"), tmp_path, kind)
    for given in (index, tmp_path):
        randomize(model, 9.0)
        load_pretrained(model, given)
        assert_holds(model, state, tmp_path)
    shard = next(tmp_path.glob("*00002-of-00002*"))
    with pytest.raises(InputError, match="one of 2 shards; give their index"):
        load_pretrained(model, shard)
    shard.unlink()
    with pytest.raises(InputError, match=r"1 of them are missing: .*00002-of-00002") as error:
        load_pretrained(model, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("vit_tiny_patch16_224.augreg_in21k_ft_in1k.safetensors", 0.5),
        # Those of DINO have the name of the model, too, and are for ImageNet's normalization.
        ("vit_tiny_patch16_224.dino.safetensors", 0.485),
    ],
)
def test_names_of_published_files_say_the_normalization(name, mean, state, tmp_path, lines):
    save_file(state, tmp_path / name)
    model = create_model(PLAIN, tmp_path / name, 10, **SIZES)
    assert model.image_format.mean[0] == mean
    assert len(lines()) == (mean == 0.5)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("config.json", {"pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}),
        ("preprocessor_config.json", {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}),
    ],
)
def test_the_normalization_of_the_weights_becomes_the_models(name, config, state, tmp_path, lines):
    (tmp_path / name).write_text(json.dumps(config))
    save_file(state, tmp_path / "model.safetensors")
    model = create_model(PLAIN, tmp_path, 10, **SIZES)
    assert model.image_format.mean == model.image_format.std == (0.5, 0.5, 0.5)
    (line,) = lines()
    assert "mean 0.5, 0.5, 0.5" in line
    (tmp_path / "b").mkdir()
    model.save(tmp_path / "b" / "a.keras")
    save_safetensors(model, tmp_path / "b" / "a.safetensors")
    for file in ("a.keras", "a.safetensors"):
        again = create_model(PLAIN, tmp_path / "b" / file, 10, **SIZES)
        assert again.image_format == model.image_format
    assert keras.models.load_model(tmp_path / "b" / "a.keras").image_format == model.image_format
    assert model_from(tmp_path / "b" / "a.keras", image_size=32).image_format.std == (0.5,) * 3


def test_a_model_without_heads_takes_the_rest_of_a_file(states, tmp_path, lines):
    path = tmp_path / "a.safetensors"
    save_file(states[DISTILLED], path)
    bare = create_model(DISTILLED, weights=path, num_classes=0, **SIZES)
    assert "4 tensors" in " ".join(lines()) and bare.num_classes == 0
    whole = create_model(DISTILLED, weights=path, num_classes=10, **SIZES)
    assert not lines()
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    found = [numpy(model.forward_features(images).tokens) for model in (bare, whole)]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("name", [PLAIN, DISTILLED])
def test_the_first_kernel_fits_images_of_other_channels_as_in_timm(states, name, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(states[PLAIN], path)
    kernel = states[PLAIN]["patch_embed.proj.weight"].transpose(2, 3, 1, 0)
    for channels, expected in {
        1: kernel.sum(axis=2, keepdims=True),
        5: kernel[:, :, [0, 1, 2, 0, 1]] * 3 / 5,
    }.items():
        model = create_model(name, weights=path, num_classes=10, in_channels=channels, **SIZES)
        own = numpy(model.get_layer("patch_embedding").projection.kernel)
        np.testing.assert_allclose(own, expected, rtol=1e-6)
        again = tmp_path / f"{channels}.safetensors"
        save_safetensors(model, again)
        loaded = create_model(name, weights=again, num_classes=10, in_channels=channels, **SIZES)
        np.testing.assert_array_equal(numpy(loaded.weights[0]), numpy(model.weights[0]))


def test_a_dense_patch_embedding_fits_images_of_other_channels(tmp_path):
    """Gray pixels give what three equal channels gave."""
    sizes = {"image_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 2}
    color = create_model("vit_small_data_patch4_32", **sizes)
    save_safetensors(color, tmp_path / "a.safetensors")
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
    expected = numpy(color(images.repeat(3, axis=-1)))
    for channels in (1, 6):
        model = create_model(
            "vit_small_data_patch4_32", tmp_path / "a.safetensors", in_channels=channels, **sizes
        )
        found = numpy(model(images.repeat(channels, axis=-1)))
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_shifted_patches_do_not_fit_images_of_other_channels(tmp_path):
    sizes = {"image_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 2}
    save_safetensors(create_model("sl_vit_patch4_32", **sizes), tmp_path / "a.safetensors")
    model = create_model("sl_vit_patch4_32", in_channels=1, **sizes)
    before = [numpy(weight) for weight in model.weights]
    with pytest.raises(InputError, match=r"images of 3 channels.*patch_embedding/norm"):
        load_pretrained(model, tmp_path / "a.safetensors")
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(numpy(weight), value)
