"""Positions for another grid."""

import numpy as np
import pytest
import torch
from harness import numpy
from published_cases import DATA, tensors, values
from safetensors.numpy import save_file

from keras_deit import InputError, create_model
from keras_deit.layers.positions import resize_positions
from keras_deit.pretrained import save_safetensors

GRIDS = [
    *(((14, 14), (24, 24)), ((24, 24), (14, 14)), ((14, 14), (10, 10)), ((6, 6), (4, 9))),
    *(((3, 8), (5, 2)), ((2, 2), (7, 7)), ((1, 1), (3, 3)), ((6, 6), (6, 5)), ((14, 14), (1, 1))),
]


def random_positions(prefix, grid, width=5):
    shape = (1, prefix + grid[0] * grid[1], width)
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def pytorch_resize(grid, target):
    """(rows, columns, width) by the call of the authors' fine-tuning code, in float64."""
    channels_first = torch.from_numpy(grid.transpose(2, 0, 1).astype("float64"))[None]
    resized = torch.nn.functional.interpolate(
        channels_first, size=target, mode="bicubic", align_corners=False, antialias=False
    )
    return resized[0].numpy().transpose(1, 2, 0)


@pytest.mark.parametrize("prefix", [0, 1, 2])
@pytest.mark.parametrize(("source", "target"), GRIDS, ids=str)
def test_resizing_is_pytorchs(source, target, prefix):
    positions = random_positions(prefix, source)
    resized = resize_positions(positions, source, target)
    assert resized.dtype == np.float32
    np.testing.assert_array_equal(resized[:, :prefix], positions[:, :prefix])
    expected = pytorch_resize(positions[0, prefix:].reshape(*source, -1), target)
    received = resized[0, prefix:].reshape(*target, -1)
    assert np.abs(received - expected).max() <= 1e-6


def test_the_same_grid_is_the_same_array():
    positions = random_positions(2, (6, 6))
    assert resize_positions(positions, (6, 6), (6, 6)) is positions


def positions_of(model):
    return numpy(model.get_layer("position_embedding").positions)


@pytest.mark.parametrize(("case", "prefix"), [("deit", 1), ("deit_distilled", 2), ("deit3", 0),
                                              ("cait", 0)])  # fmt: skip
def test_square_positions_for_images_that_are_not(case, prefix):
    model = create_model(**values(case, image_size=(32, 72)), weights=DATA / f"{case}.safetensors")
    held = tensors(case)["pos_embed"]
    received = positions_of(model)
    np.testing.assert_array_equal(received[:, :prefix], held[:, :prefix])
    expected = pytorch_resize(held[0, prefix:].reshape(6, 6, -1), (4, 9))
    assert np.abs(received[0, prefix:].reshape(4, 9, -1) - expected).max() <= 1e-6


@pytest.mark.parametrize("size", [(32, 72), (24, 40), (48, 48)])
def test_a_file_of_ours_says_its_grid(size, tmp_path):
    """4×9 patches are as many as 6×6."""
    model = create_model(**values("deit", image_size=size))
    save_safetensors(model, tmp_path / "a.safetensors")
    twin = create_model(**values("deit", image_size=size), weights=tmp_path / "a.safetensors")
    np.testing.assert_array_equal(positions_of(twin), positions_of(model))
    square = create_model(**values("deit"), weights=tmp_path / "a.safetensors")
    grid = (size[0] // 8, size[1] // 8)
    expected = resize_positions(positions_of(model), grid, (6, 6))
    np.testing.assert_array_equal(positions_of(square), expected)


def without_metadata(model, path):
    """As somebody else would write it."""
    from safetensors.numpy import load_file

    save_safetensors(model, path)
    save_file(load_file(path), path)


def test_positions_that_make_no_square(tmp_path):
    path = tmp_path / "a.safetensors"
    model = create_model(**values("deit", image_size=(24, 40)))
    without_metadata(model, path)
    same = create_model(**values("deit", image_size=(24, 40)), weights=path)
    np.testing.assert_array_equal(positions_of(same), positions_of(model))
    message = r"has positions for 15 patches, which make no square; .* with 6×6, and cannot be re"
    with pytest.raises(InputError, match=message) as error:
        create_model(**values("deit"), weights=path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("grid", ["[-6, -6]", "[6.0, 6.0]", '["a", "b"]', "[true, 36]", "[36]"])
def test_a_grid_that_is_none_is_not_read(grid, tmp_path):
    """Somebody else may use the same key for something else."""
    held = tensors("deit")
    save_file(held, tmp_path / "a.safetensors", {"patch_grid": grid})
    model = create_model(**values("deit"), weights=tmp_path / "a.safetensors")
    np.testing.assert_array_equal(positions_of(model), held["pos_embed"])


@pytest.mark.parametrize("length", [0, 1])
def test_fewer_positions_than_tokens(length, tmp_path):
    held = {**tensors("deit_distilled"), "pos_embed": np.zeros((1, length, 48), "float32")}
    save_file(held, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="which make no square"):
        create_model(**values("deit_distilled"), weights=tmp_path / "a.safetensors")


def test_resmlp_is_bound_to_its_size():
    message = r"is bound to images of 36 patches; resmlp_12_224 has 81\. A ResMLP cannot be loade"
    with pytest.raises(InputError, match=message) as error:
        create_model(**values("resmlp", image_size=72), weights=DATA / "resmlp.safetensors")
    assert "\n" not in str(error.value)


def test_a_bias_across_the_patches_that_is_no_row(tmp_path):
    held = {**tensors("resmlp"), "blocks.0.attn.bias": np.array(1, "float32")}
    save_file(held, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"blocks\.0\.attn\.bias \(\), the model's is \(36,\)"):
        create_model(**values("resmlp"), weights=tmp_path / "a.safetensors")
