"""The names and layouts of weights in published files."""

import keras
import numpy as np
import pytest
from harness import numpy, randomize
from model_cases import CASES, PLAIN

from keras_deit.models.weight_names import (
    COPY,
    DENSE,
    ROWS,
    Entry,
    Transform,
    count_classes,
    model_entries,
    tensor_names,
)

TRANSFORMS = {
    "copy": (COPY, (4, 3), (4, 3)),
    "dense": (Transform((1, 0)), (4, 3), (3, 4)),
    "convolution": (Transform((2, 3, 1, 0)), (5, 2, 7, 3), (3, 7, 5, 2)),
    "depthwise": (Transform((2, 3, 0, 1)), (5, 2, 7, 1), (7, 1, 5, 2)),
    "pointwise": (Transform((2, 3, 1, 0), squeeze=2), (4, 3), (3, 4, 1, 1)),
    "wide": (Transform((0, 1, 2), squeeze=2), (4,), (1, 1, 4)),
}


@pytest.mark.parametrize(("transform", "ours", "theirs"), TRANSFORMS.values(), ids=TRANSFORMS)
def test_transform_to_the_file_and_back_copies_nothing(transform, ours, theirs):
    value = np.random.default_rng(0).normal(size=ours)
    tensor = transform.to_file(value)
    assert tensor.shape == transform.file_shape(ours) == theirs
    back = transform.from_file(tensor)
    np.testing.assert_array_equal(back, value)
    assert np.shares_memory(tensor, value) and np.shares_memory(back, value)


def test_transform_of_a_convolution_is_from_pytorchs_axes():
    """PyTorch has (outputs, inputs, rows, columns), Keras (rows, columns, inputs, outputs)."""
    transform, _, theirs = TRANSFORMS["convolution"]
    tensor = np.random.default_rng(0).normal(size=theirs)
    value = transform.from_file(tensor)
    assert value[4, 1, 6, 2] == tensor[2, 6, 4, 1]


def test_an_entry_of_several_tensors_concatenates_and_splits_them():
    parts = [np.full((2, 4), number, "float32") for number in (1, 2, 3)]
    variable = keras.Variable(np.zeros((4, 6), "float32"))
    entry = Entry(variable, ("query", "key", "value"), Transform((1, 0)), (4, 6))
    assert entry.tensor_shape == (2, 4)
    variable.assign(entry.value(parts))
    np.testing.assert_array_equal(numpy(variable)[0], [1, 1, 2, 2, 3, 3])
    for part, expected in zip(entry.tensors(), parts, strict=True):
        np.testing.assert_array_equal(part, expected)
    assert not entry.has_other_class_count


def table_of(model, publisher="authors"):
    return model.weight_names()[publisher]


# Nobody has published a ResMLP with class-MLP.
@pytest.mark.parametrize("name", sorted(CASES.keys() - {"ResMLP with class-MLP"}))
def test_every_weight_has_one_name_and_the_shape_of_its_tensor(name):
    model = CASES[name].build()
    randomize(model)
    tables = model.weight_names()
    for table in (tables[publisher] for publisher in ("authors", "timm") if publisher in tables):
        entries = model_entries(model, table)
        names = [tensor for entry in entries for tensor in entry.names]
        assert len(set(names)) == len(names)
        # A weight without a name of its own goes by its path, which has slashes.
        assert not [tensor for tensor in names if "/" in tensor]
        for entry in entries:
            tensors = entry.tensors()
            assert {tensor.shape for tensor in tensors} == {entry.tensor_shape}
            np.testing.assert_array_equal(entry.value(tensors), numpy(entry.variable))


def test_names_are_found_by_the_path_with_the_number_of_the_block():
    entries = {entry.path: entry for entry in model_entries(PLAIN.build(), table_of(PLAIN.build()))}
    assert entries["block_1/attention/qkv/kernel"].names == ("blocks.1.attn.qkv.weight",)
    assert entries["class_token/token"].names == ("cls_token",)
    assert entries["block_0/norm2/beta"].names == ("blocks.0.norm2.bias",)


def test_a_weight_that_no_table_names_goes_by_its_path():
    model = PLAIN.build()
    entries = model_entries(model, {"class_head": ("fc", DENSE)})
    names = {entry.path: entry.names for entry in entries}
    assert names.pop("class_head/kernel") == ("fc.weight",)
    assert names.pop("class_head/bias") == ("fc.bias",)
    assert all(name == (path,) for path, name in names.items())


def test_entries_for_a_file_with_another_number_of_classes():
    model = CASES["PatchConvNet, one token per class"].build()
    entries = model_entries(model, table_of(model), num_classes=7)
    changed = {entry.path: entry for entry in entries if entry.has_other_class_count}
    shapes = {path: entry.shape for path, entry in changed.items()}
    assert shapes == {
        "class_token/token": (1, 7, 16),
        "class_head/kernel": (7, 16),
        "class_head/bias": (7,),
    }
    assert changed["class_head/bias"].names == tuple(f"head.{k}.bias" for k in range(7))
    assert changed["class_head/bias"].tensor_shape == (1,)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({"head.weight": (9, 8), "head.bias": (9,)}, 9),
        ({"head.0.bias": (1,), "head.1.bias": (1,)}, None),
        ({"norm.bias": (8,)}, None),
    ],
    ids=["dense head", "another kind of head", "no head"],
)
def test_classes_of_a_file_are_counted_by_its_head(shapes, expected):
    assert count_classes(PLAIN.build(), shapes, table_of(PLAIN.build())) == expected


def test_classes_of_a_file_with_a_layer_for_each_class():
    model = CASES["PatchConvNet, one token per class"].build()
    shapes = {f"head.{k}.bias": (1,) for k in range(12)} | {"head.0.weight": (1, 16)}
    assert count_classes(model, shapes, table_of(model)) == 12
    assert count_classes(model, {"head.bias": (12,)}, table_of(model)) is None


def test_classes_of_a_file_of_paths():
    assert count_classes(PLAIN.build(), {"class_head/bias": (4,)}, {}) == 4


def test_tensor_names_of_a_table():
    table = {"block_{i}/qkv": (("q", "k"), DENSE), "head": ("head.{k}", ROWS)}
    assert tensor_names(table) == {
        *("q.weight", "q.bias", "k.weight", "k.bias", "head.{k}.weight", "head.{k}.bias")
    }
