"""Every tensor of a file and every weight of a model has its place, or nothing is loaded."""

import logging
import re

import keras
import numpy as np
import pytest
from harness import numpy, randomize
from published_cases import CASES, DATA, scrambled, tensors, transformers_tensors, values
from safetensors.numpy import save_file

from keras_deit import InputError, create_model, load_pretrained


def state(model):
    return [numpy(variable) for variable in model.variables]


def refusal(model, path):
    """What is said of a file that is refused, after a look at the model."""
    before = state(model)
    with pytest.raises(InputError) as error:
        load_pretrained(model, path)
    assert all(map(np.array_equal, before, state(model)))
    return str(error.value)


def refused(case, changed, tmp_path):
    save_file(changed, tmp_path / "a.safetensors")
    return refusal(scrambled(case), tmp_path / "a.safetensors")


@pytest.mark.parametrize("case", CASES)
def test_each_tensor_is_missed(case, tmp_path):
    """One at a time, in a file that has the others."""
    held = tensors(case)
    for name in list(held)[:: max(1, len(held) // 7)]:
        others = {key: value for key, value in held.items() if key != name}
        first, *lines = refused(case, others, tmp_path).splitlines()
        # A part of a head that is split by class changes how many classes there are.
        if not name.startswith("head.0") and case != "patchconvnet_multi":
            assert first.endswith(": 1 tensors missing, 0 left over, 0 of another shape.")
        assert lines[0] == "missing from the file:"
        assert any(line.startswith(f"  {name} (") for line in lines), (name, lines)


def test_a_tensor_under_another_name(tmp_path):
    held = tensors("deit")
    held["blocks.1.norm1.wieght"] = held.pop("blocks.1.norm1.weight")
    assert refused("deit", held, tmp_path).splitlines() == [
        f"{tmp_path}/a.safetensors does not fit deit_tiny_patch16_224: "
        "1 tensors missing, 1 left over, 0 of another shape.",
        "missing from the file:",
        "  blocks.1.norm1.weight (48,); nearest on the other side: blocks.1.norm1.wieght (48,)",
        "left over in the file:",
        "  blocks.1.norm1.wieght (48,); nearest on the other side: blocks.1.norm1.weight (48,)",
    ]


def test_a_tensor_of_another_shape(tmp_path):
    held = tensors("deit")
    held["blocks.2.mlp.fc1.weight"] = held["blocks.2.mlp.fc1.weight"].T.copy()
    assert refused("deit", held, tmp_path).splitlines()[1:] == [
        "of another shape:",
        "  blocks.2.mlp.fc1.weight (48, 192), the model's is (192, 48)",
    ]


def test_long_lists_are_cut(tmp_path):
    deeper = {**tensors("deit")}
    third = {name: value for name, value in deeper.items() if ".2." in name}
    for block in range(3, 12):
        deeper |= {name.replace(".2.", f".{block}."): value for name, value in third.items()}
    lines = refused("deit", deeper, tmp_path).splitlines()
    assert "0 tensors missing, 108 left over" in lines[0]
    assert len(lines) == 103
    assert lines[1] == "left over in the file:"
    assert (
        "  blocks.3.attn.proj.bias (48,); nearest on the other side: blocks.2.attn.proj.bias (48,)"
        in lines
    )
    assert lines[-1] == "  and 8 more"


@pytest.mark.parametrize(
    ("model", "file", "kinds"),
    [
        ("deit", "cait", ("CaiT", "DeiT")),
        ("deit", "deit3", ("DeiT III", "DeiT")),
        ("deit3", "deit", ("DeiT", "DeiT III")),
        ("deit3", "deit_parallel", ("DeiT III with parallel blocks", "DeiT III")),
        ("deit_parallel", "deit3", ("DeiT III", "DeiT III with parallel blocks")),
        ("deit_distilled", "resmlp", ("ResMLP", "distilled DeiT")),
        ("deit", "patchconvnet", ("PatchConvNet", "DeiT")),
        ("cait", "patchconvnet", ("PatchConvNet", "CaiT")),
        ("resmlp", "deit", ("DeiT", "ResMLP")),
        ("patchconvnet", "patchconvnet_multi",
         ("PatchConvNet with one token per class", "PatchConvNet")),
        ("patchconvnet_multi", "patchconvnet",
         ("PatchConvNet", "PatchConvNet with one token per class")),
    ],
)  # fmt: skip
def test_another_architecture_is_named(model, file, kinds):
    line = refusal(scrambled(model), DATA / f"{file}.safetensors")
    name = values(model)["name"]
    assert line.endswith(f"{file}.safetensors holds a {kinds[0]}; {name} is a {kinds[1]}.")
    assert "\n" not in line


@pytest.mark.parametrize("by_transformers", [False, True])
def test_distilled_weights_are_no_plain_ones(by_transformers, tmp_path):
    source = transformers_tensors if by_transformers else tensors
    lines = refused("deit", source("deit_distilled"), tmp_path).splitlines()
    assert lines[0].endswith(": it holds a distilled DeiT, the model is a DeiT.")
    lines = refused("deit_distilled", source("deit"), tmp_path).splitlines()
    assert lines[0].endswith(": it holds a DeiT, the model is a distilled DeiT.")
    if not by_transformers:
        assert [re.match(r"  (\S+)", line)[1] for line in lines[2:]] == [
            *("dist_token", "head_dist.weight", "head_dist.bias")
        ]


def test_tensors_of_something_else(tmp_path):
    convnet = {"conv1.weight": np.ones((8, 3, 7, 7), "float32"), "fc.bias": np.ones(9, "float32")}
    line = refused("deit", convnet, tmp_path)
    assert line.endswith("no model of a kind that is known here; it has conv1.weight, fc.bias, ...")


def test_what_is_no_weight_is_left_out_by_name_only(tmp_path):
    batches = {"norm.num_batches_tracked": np.array(5), "vit.pooler.dense.bias": np.ones(3)}
    model = scrambled("deit")
    save_file({**tensors("deit"), **batches}, tmp_path / "a.safetensors")
    load_pretrained(model, tmp_path / "a.safetensors")
    lines = refused("deit", {**tensors("deit"), "pooler.bias": np.ones(3)}, tmp_path).splitlines()
    assert lines[2].startswith("  pooler.bias (3,)")


HEADS = {
    "deit_distilled": ("class_head", "distillation_head"),
    "patchconvnet_multi": ("class_token", "class_head"),
}


@pytest.mark.parametrize("num_classes", [3, 11])
@pytest.mark.parametrize("case", CASES)
def test_heads_of_another_class_count_are_kept(case, num_classes, caplog):
    path = DATA / f"{case}.safetensors"
    whole = scrambled(case)
    load_pretrained(whole, path)
    expected = {variable.path: numpy(variable) for variable in whole.weights}
    model = create_model(**values(case, num_classes=num_classes))
    randomize(model)
    before = {variable.path: numpy(variable) for variable in model.weights}
    heads = HEADS.get(case, ("class_head",))
    with caplog.at_level(logging.WARNING, "keras_deit"):
        load_pretrained(model, path)
    for variable in model.weights:
        source = before if variable.path.startswith(heads) else expected
        np.testing.assert_array_equal(numpy(variable), source[variable.path], variable.path)
    (record,) = caplog.records
    assert record.name == "keras_deit" and record.levelname == "WARNING"
    assert record.getMessage() == (
        f"{path} has another class count than the {num_classes} of this model; "
        f"not loaded: {', '.join(heads)}."
    )


def test_nothing_is_said_where_the_class_count_is_the_same(caplog):
    load_pretrained(scrambled("deit"), DATA / "deit.safetensors")
    assert not caplog.records


@pytest.mark.parametrize("case", ["deit_distilled", "patchconvnet_multi"])
def test_kept_heads_of_a_created_model_are_fresh(case):
    """N(0, 0.02²), as in a model without weights."""
    path = DATA / f"{case}.safetensors"
    model = create_model(**values(case, num_classes=200), weights=path)
    for variable in model.weights:
        if variable.path.startswith(HEADS[case]):
            if variable.path.endswith("bias"):
                assert not numpy(variable).any()
            else:
                assert 0.019 < numpy(variable).std() < 0.021, variable.path


def test_weights_that_are_loaded_are_not_drawn(monkeypatch):
    draw, shapes = keras.initializers.RandomNormal.__call__, []

    def record(self, shape, dtype=None):
        shapes.append(tuple(shape))
        return draw(self, shape, dtype)

    monkeypatch.setattr(keras.initializers.RandomNormal, "__call__", record)
    path = DATA / "deit_distilled.safetensors"
    create_model(**values("deit_distilled"), weights=path)
    assert not shapes
    create_model(**values("deit_distilled", num_classes=9), weights=path)
    assert shapes == [(48, 9), (48, 9)]
    with pytest.raises(InputError):
        create_model(**values("deit"), weights=path)
    assert numpy(create_model(**values("deit")).get_layer("class_head").kernel).any()


def test_a_head_of_another_width_is_no_matter_of_classes(tmp_path):
    held = tensors("deit")
    held["head.weight"] = np.ones((5, 44), "float32")
    held["head.bias"] = np.ones(5, "float32")
    assert refused("deit", held, tmp_path).splitlines()[1:] == [
        "of another shape:",
        "  head.weight (5, 44), the model's is (5, 48)",
    ]


def test_two_heads_of_two_class_counts(tmp_path):
    held = tensors("deit_distilled")
    held["head_dist.weight"] = np.ones((5, 48), "float32")
    held["head_dist.bias"] = np.ones(5, "float32")
    lines = refused("deit_distilled", held, tmp_path).splitlines()
    assert lines[0].endswith("0 tensors missing, 0 left over, 2 of another shape.")
