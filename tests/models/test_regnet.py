"""RegNetY computes what timm's does, from files of timm, DeiT's authors and torchvision."""

import re

import keras
import numpy as np
import pytest
import torch
from harness import numpy, run
from regnet_model_cases import REGNET
from regnet_timm import ARGUMENTS, drawn, images, recorded
from safetensors.numpy import save_file

from keras_deit import InputError, create_model, load_pretrained
from keras_deit.models import RegNet, get_spec

every_backend = pytest.mark.backends("tensorflow", "jax", "torch")
# The ends of names in a block, in timm and in torchvision.
IN_BLOCK = {
    "conv1.conv": "f.a.0",
    "conv1.bn": "f.a.1",
    "conv2.conv": "f.b.0",
    "conv2.bn": "f.b.1",
    "se.fc1": "f.se.fc1",
    "se.fc2": "f.se.fc2",
    "conv3.conv": "f.c.0",
    "conv3.bn": "f.c.1",
    "downsample.conv": "proj.0",
    "downsample.bn": "proj.1",
}


def torchvision_name(name):
    name = re.sub(r"^stem\.conv\.", "stem.0.", re.sub(r"^stem\.bn\.", "stem.1.", name))
    name = re.sub(r"^head\.fc\.", "fc.", name)
    if match := re.fullmatch(r"s(\d)\.b(\d+)\.(.*)\.(\w+)", name):
        stage, block, module, leaf = match.groups()
        inner = f"block{stage}.block{stage}-{int(block) - 1}"
        return f"trunk_output.{inner}.{IN_BLOCK[module]}.{leaf}"
    return name


def save(kind, path):
    tensors = drawn(recorded()["shapes"])
    if kind == "timm":
        save_file(tensors, path)
    elif kind == "authors":
        values = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
        torch.save({"model": values}, path)
    else:
        save_file({torchvision_name(name): value for name, value in tensors.items()}, path)
    return str(path)


def small(path, **values):
    return create_model("regnety_160", path, **{**ARGUMENTS, **values})


@every_backend
def test_a_small_model_computes_what_timm_does(tmp_path):
    expected = recorded()
    model = small(save("timm", tmp_path / "timm.safetensors"))
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == expected["parameters"]
    last = [f"stage_{stage}_block_{index - 1}" for stage, index in enumerate(ARGUMENTS["depth"])]
    layers = {"stem": "stem", **{f"s{number + 1}": name for number, name in enumerate(last)}}
    outputs = {key: model.get_layer(name).output for key, name in layers.items()}
    found = run(keras.Model(model.input, {**outputs, "logits": model.output}), images())
    for key, value in expected["pooled"].items():
        np.testing.assert_allclose(numpy(found[key]).mean(axis=(1, 2)), value, rtol=0, atol=1e-5)
    np.testing.assert_allclose(numpy(found["logits"]), expected["logits"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["authors", "torchvision"])
def test_other_files_hold_the_same(kind, tmp_path):
    model = small(save(kind, tmp_path / f"{kind}.file"))
    expected = recorded()["logits"]
    np.testing.assert_allclose(numpy(model(images())), expected, rtol=0, atol=1e-5)


def test_a_file_for_other_classes_gives_all_but_the_head(tmp_path):
    path = save("timm", tmp_path / "timm.safetensors")
    model, whole = small(path, num_classes=3), small(path)
    stem = [layer.get_layer("stem").conv.kernel for layer in (model, whole)]
    np.testing.assert_array_equal(*map(numpy, stem))
    assert model.output_shape == (None, 3)


def test_a_file_of_other_widths_is_refused(tmp_path):
    path = save("timm", tmp_path / "timm.safetensors")
    model = RegNet(**{**ARGUMENTS, "widths": (8, 16, 32, 56)})
    with pytest.raises(InputError, match=r"s4\.b1\.conv3\.bn\.running_mean \(64,\)"):
        load_pretrained(model, path)


def test_stages_need_as_many_widths_as_depths():
    with pytest.raises(InputError, match="a number for each stage"):
        RegNet(widths=(8, 16), depth=(1,))
    with pytest.raises(InputError, match="multiple of group_width 8"):
        RegNet(**{**ARGUMENTS, "widths": (8, 16, 32, 60)})


def test_the_parameters_are_those_that_timm_counts():
    counts = {"040": 20_646_656, "080": 39_180_068, "120": 51_822_544, "160": 83_590_140}
    assert {key: get_spec(f"regnety_{key}").parameters for key in counts} == counts


def test_stochastic_depth_grows_with_the_depth():
    model = REGNET.build(drop_path_rate=0.4)
    assert [block.drop_path_rate for block in model.blocks] == pytest.approx([0, 0.2, 0.4])


def test_the_grid_of_its_features_is_that_of_the_last_stage():
    features = REGNET.build().forward_features(REGNET.inputs(), intermediates=[0])
    assert features.grid == (3, 2)
    assert tuple(features.intermediates[0].shape) == (3, 5, 4, 4)
    assert tuple(features.embedding.shape) == (3, 8)
