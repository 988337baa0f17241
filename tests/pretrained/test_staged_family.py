"""Weights of a user's family with several position tables and its own head."""

import json

import numpy as np
import pytest
from harness import numpy, randomize
from published_cases import DATA
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from staged_family import WIDTH, Relative, Staged, Ungridded

from keras_deit import InputError, create_model, register_family, register_model
from keras_deit.layers.positions import resize_positions
from keras_deit.models import Classifier
from keras_deit.models.weight_names import DENSE
from keras_deit.pretrained import save_safetensors
from keras_deit.pretrained.conversion import change_model, model_from
from keras_deit.pretrained.matching import describe

# 8×32 pixels are 4×16 and 2×8 patches: as many as 8×8 and 4×4.
WIDE = (8, 32)


@pytest.fixture(autouse=True, scope="module")
def registered(registries):
    for family in (Staged, Relative, Ungridded):
        register_family(family)
        register_model(family.__name__.lower(), family)


def random_model(name, **values):
    model = create_model(name, **values)
    randomize(model)
    return model


def saved(model, folder):
    save_safetensors(model, folder / "a.safetensors")
    return folder / "a.safetensors"


def assert_same(model, other):
    assert [weight.path for weight in model.weights] == [weight.path for weight in other.weights]
    for weight, twin in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(numpy(weight), numpy(twin), weight.path)


@pytest.mark.parametrize("name", ["staged", "relative", "ungridded"])
def test_the_same_model_gets_the_same_weights_back(name, tmp_path):
    model = random_model(name, image_size=WIDE)
    assert_same(create_model(name, saved(model, tmp_path), image_size=WIDE), model)
    model.save(tmp_path / "a.keras")
    assert_same(create_model(name, tmp_path / "a.keras", image_size=WIDE), model)


def test_tables_of_a_changed_size_and_back_are_resized_each_from_its_own_grid(tmp_path):
    model = random_model("staged", image_size=WIDE)
    square = create_model("staged", saved(model, tmp_path))
    assert_same(change_model(model, image_size=16), square)
    for stage, (source, target) in enumerate((((4, 16), (8, 8)), ((2, 8), (4, 4)))):
        held, received = (numpy(m.get_layer(f"stage_{stage}_positions").positions)
                          for m in (model, square))  # fmt: skip
        np.testing.assert_array_equal(received, resize_positions(held, source, target))


def test_relative_biases_are_resized_from_one_grid_of_any_shape_to_another(tmp_path):
    """A bias that is linear in the offset stays about so, away from the border."""
    model = create_model("relative", image_size=(24, 40))
    table = model.get_layer("stage_0_mixing").bias_table
    table.assign(np.tile(np.arange(39.0), 23)[:, None])
    larger = model_from(saved(model, tmp_path), "relative", image_size=(48, 56))
    assert_same(change_model(model, image_size=(48, 56)), larger)
    assert larger(np.zeros((1, 48, 56, 3))).shape == (1, 4)
    received = numpy(larger.get_layer("stage_0_mixing").bias_table).reshape(47, 55)
    expected = (np.arange(55) + 0.5) * 39 / 55 - 0.5
    np.testing.assert_allclose(received[:, 4:-4], np.tile(expected[4:-4], (47, 1)), atol=0.06)


def test_a_relative_bias_of_a_published_file_is_that_of_a_square(tmp_path):
    model = random_model("relative")
    path = saved(model, tmp_path)
    save_file(load_file(path), path)
    assert_same(create_model("relative", path), model)
    assert_same(create_model("relative", path, image_size=WIDE),
                change_model(model, image_size=WIDE))  # fmt: skip


def test_a_file_with_the_one_grid_of_earlier_versions(tmp_path):
    model = random_model("staged", image_size=WIDE)
    path = saved(model, tmp_path)
    with safe_open(path, "numpy") as file:
        grids = json.loads(file.metadata()["patch_grid"])
    assert grids == {"stages.0.pos": [4, 16], "stages.1.pos": [2, 8]}
    save_file(load_file(path), path, {"patch_grid": "[4, 16]"})
    first = create_model("staged", path, image_size=WIDE).get_layer("stage_0_positions").positions
    np.testing.assert_array_equal(
        numpy(first), numpy(model.get_layer("stage_0_positions").positions)
    )


def test_positions_of_an_unknown_grid_are_for_one_size(tmp_path):
    path = saved(random_model("ungridded"), tmp_path)
    with pytest.raises(InputError, match=r"stages\.0\.pos.*\(1, 64, 3\).*\(1, 100, 3\)"):
        create_model("ungridded", path, image_size=20)


def test_tensors_have_the_numbers_of_all_placeholders(tmp_path):
    names = load_file(saved(random_model("staged"), tmp_path)).keys()
    expected = {f"stages.{s}.blocks.{b}.fc.weight" for s in range(2) for b in range(2)}
    assert {name for name in names if name.endswith(".fc.weight")} == expected


@pytest.mark.parametrize(
    ("path", "module", "message"),
    [
        ("stage_{i}_dense_{i}", "blocks.{i}.{i}", r"stage_\{i\}_dense_\{i\}"),
        ("stage_{a}_dense_{b}", "blocks.{b}", r"stage_1_dense_0.*stage_0_dense_0.*blocks\.0\.w"),
    ],
)
def test_two_weights_with_one_name_are_refused(path, module, message, tmp_path, monkeypatch):
    model = create_model("staged")
    monkeypatch.setattr(Staged, "weight_tables", {"authors": {path: (module, DENSE)}})
    with pytest.raises(InputError, match=message):
        save_safetensors(model, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_classes_of_a_file_are_counted_by_a_head_without_bias(tmp_path):
    path = saved(random_model("staged", num_classes=9), tmp_path)
    assert model_from(path, "staged").num_classes == 9


def test_a_file_without_a_head_leaves_it_as_the_family_starts_it(tmp_path):
    path = saved(random_model("staged"), tmp_path)
    save_file({name: v for name, v in load_file(path).items() if name != "fc.weight"}, path)
    head = model_from(path, "staged").get_layer("head")
    assert (numpy(head.kernel) == 1).all()


def test_a_head_that_is_not_loaded_starts_as_the_family_starts_it(tmp_path):
    path = saved(random_model("staged"), tmp_path)
    head = create_model("staged", path, num_classes=5).get_layer("head")
    np.testing.assert_array_equal(numpy(head.kernel), np.ones((WIDTH, 5)))


def test_a_file_of_a_users_family_is_recognized():
    names = [f"stages.{s}.blocks.{b}.fc.weight" for s in range(2) for b in range(3)]
    # A mark of a DeiT.
    names += ["stages.0.pos", "stages.0.blocks.0.attn.qkv.weight"]
    assert describe(names) == (Staged, "Staged")
    assert describe(load_file(DATA / "deit.safetensors"))[1] == "DeiT"
    assert Classifier.describe_weights(names) is None


def test_what_a_family_ignores_is_loaded_by_a_model_that_wants_it(tmp_path, monkeypatch):
    model = random_model("staged")
    path = saved(model, tmp_path)
    monkeypatch.setattr(Staged, "ignored_weights", (r"fc\..*", "teacher"))
    held = {**load_file(path), "teacher": np.ones(2, "float32")}
    save_file(held, path)
    assert_same(create_model("staged", path), model)
    with pytest.raises(InputError, match="student"):
        save_file({**held, "student": np.ones(2, "float32")}, path)
        create_model("staged", path)
