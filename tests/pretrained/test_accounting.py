"""Nothing is loaded unless every tensor of a file and every weight of a model has its place."""

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
    """Returns the error of a file, after a check that the model has not changed."""
    before = state(model)
    with pytest.raises(InputError) as error:
        load_pretrained(model, path)
    assert all(map(np.array_equal, before, state(model)))
    return str(error.value)


def refused(case, changed, tmp_path):
    save_file(changed, tmp_path / "a.safetensors")
    return refusal(scrambled(case), tmp_path / "a.safetensors")


@pytest.mark.parametrize("case", CASES)
def test_a_missing_tensor_is_named(case, tmp_path):
    """Several tensors, one at a time, in a file that has all others."""
    held = tensors(case)
    for name in list(held)[:: max(1, len(held) // 7)]:
        others = {key: value for key, value in held.items() if key != name}
        first, *lines = refused(case, others, tmp_path).splitlines()
        # If each class has a tensor of its own, a missing one changes the number of classes.
        if case != "patchconvnet_multi":
            assert "1 tensors missing, 0 left over, 0 of another shape" in first
        assert lines[0].startswith("missing")
        assert any(line.startswith(f"  {name} (") for line in lines), (name, lines)


def test_a_tensor_under_another_name(tmp_path):
    held = tensors("deit")
    held["blocks.1.norm1.wieght"] = held.pop("blocks.1.norm1.weight")
    first, missing, lacked, left_over, extra = refused("deit", held, tmp_path).splitlines()
    for part in ("a.safetensors", "deit_tiny_patch16_224", "1 tensors missing, 1 left over, 0 of"):
        assert part in first
    assert missing.startswith("missing") and left_over.startswith("left over")
    ours, theirs = "blocks.1.norm1.weight (48,)", "blocks.1.norm1.wieght (48,)"
    assert lacked.startswith(f"  {ours}") and lacked.endswith(theirs)
    assert extra.startswith(f"  {theirs}") and extra.endswith(ours)


def test_a_tensor_of_another_shape(tmp_path):
    held = tensors("deit")
    held["blocks.2.mlp.fc1.weight"] = held["blocks.2.mlp.fc1.weight"].T.copy()
    assert_only_shape_differs(held, "blocks.2.mlp.fc1.weight", (48, 192), (192, 48), tmp_path)


def assert_only_shape_differs(held, name, file_shape, model_shape, tmp_path):
    first, title, row = refused("deit", held, tmp_path).splitlines()
    assert "0 tensors missing, 0 left over, 1 of another shape" in first
    assert title.startswith("of another shape")
    assert row.startswith(f"  {name} {file_shape}") and row.endswith(str(model_shape))


def test_long_lists_are_shortened(tmp_path):
    deeper = {**tensors("deit")}
    third = {name: value for name, value in deeper.items() if ".2." in name}
    for block in range(3, 12):
        deeper |= {name.replace(".2.", f".{block}."): value for name, value in third.items()}
    lines = refused("deit", deeper, tmp_path).splitlines()
    assert "0 tensors missing, 108 left over" in lines[0]
    assert len(lines) == 103
    # The closest name on the other side is that of another block.
    (row,) = (line for line in lines if line.startswith("  blocks.3.attn.proj.bias (48,)"))
    assert row.endswith("blocks.2.attn.proj.bias (48,)")
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
def test_another_kind_of_model_is_named(model, file, kinds):
    """In one line, unless it is another kind of the same family, whose tensors are listed."""
    first, *rows = refusal(scrambled(model), DATA / f"{file}.safetensors").splitlines()
    name = values(model)["name"]
    for part in (f"{file}.safetensors", name, f"a {kinds[0]}", f"a {kinds[1]}."):
        assert part in first
    same_family = type(scrambled(model)) is type(scrambled(file))
    assert bool(rows) == same_family


@pytest.mark.parametrize("source", [transformers_tensors, tensors])
def test_a_distilled_file_is_not_loaded_into_a_plain_model_unasked(source, tmp_path):
    lines = refused("deit", source("deit_distilled"), tmp_path).splitlines()
    assert re.search("a distilled DeiT, .*a DeiT.$", lines[0])
    assert "#without_distillation" in lines[-1]


def test_tensors_of_an_unknown_family(tmp_path):
    kernel, bias = np.ones((8, 3, 3, 3), "float32"), np.ones(9, "float32")
    line = refused("deit", {"features.0.weight": kernel, "scores.bias": bias}, tmp_path)
    assert "features.0.weight, scores.bias" in line and "\n" not in line


def test_tensors_that_are_not_weights_are_ignored_by_their_full_name(tmp_path):
    others = {"norm.num_batches_tracked": np.array(5), "vit.pooler.dense.bias": np.ones(3)}
    model = scrambled("deit")
    save_file({**tensors("deit"), **others}, tmp_path / "a.safetensors")
    load_pretrained(model, tmp_path / "a.safetensors")
    lines = refused("deit", {**tensors("deit"), "pooler.bias": np.ones(3)}, tmp_path).splitlines()
    assert lines[2].startswith("  pooler.bias (3,)")


HEADS = {
    "deit_distilled": ("class_head", "distillation_head"),
    "patchconvnet_multi": ("class_token", "class_head"),
}


@pytest.mark.parametrize(
    ("case", "num_classes"), [*((case, 3) for case in CASES), ("patchconvnet_multi", 11)]
)
def test_heads_are_not_loaded_from_a_file_with_another_number_of_classes(case, num_classes, caplog):
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
    for part in (str(path), str(num_classes), ", ".join(heads)):
        assert part in record.getMessage()


def test_there_is_no_warning_for_the_same_number_of_classes(caplog):
    load_pretrained(scrambled("deit"), DATA / "deit.safetensors")
    assert not caplog.records


@pytest.mark.parametrize("case", ["deit_distilled", "patchconvnet_multi"])
def test_heads_that_are_not_loaded_are_initialized(case):
    """N(0, 0.02²), as in a model without weights."""
    path = DATA / f"{case}.safetensors"
    model = create_model(**values(case, num_classes=200), weights=path)
    for variable in model.weights:
        if variable.path.startswith(HEADS[case]):
            if variable.path.endswith("bias"):
                assert not numpy(variable).any()
            else:
                assert 0.019 < numpy(variable).std() < 0.021, variable.path


def test_no_random_values_are_drawn_for_loaded_weights(monkeypatch):
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


def test_a_head_of_another_width_is_an_error(tmp_path):
    held = tensors("deit")
    held["head.weight"] = np.ones((5, 44), "float32")
    held["head.bias"] = np.ones(5, "float32")
    assert_only_shape_differs(held, "head.weight", (5, 44), (5, 48), tmp_path)


def test_two_heads_with_different_numbers_of_classes(tmp_path):
    held = tensors("deit_distilled")
    held["head_dist.weight"] = np.ones((5, 48), "float32")
    held["head_dist.bias"] = np.ones(5, "float32")
    lines = refused("deit_distilled", held, tmp_path).splitlines()
    assert "0 tensors missing, 0 left over, 2 of another shape" in lines[0]
