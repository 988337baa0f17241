"""Weights for another image size; `tests/layers/test_positions.py` tests the resizing itself."""

import numpy as np
import pytest
import torch
from harness import numpy
from published_cases import DATA, tensors, values
from safetensors.numpy import save_file

from keras_deit import InputError, create_model
from keras_deit.layers.positions import resize_positions
from keras_deit.pretrained import save_safetensors


def pytorch_resize(grid, target):
    """Resizes (rows, columns, width) in float64 by the call of the authors' fine-tuning code."""
    channels_first = torch.from_numpy(grid.transpose(2, 0, 1).astype("float64"))[None]
    resized = torch.nn.functional.interpolate(
        channels_first, size=target, mode="bicubic", align_corners=False, antialias=False
    )
    return resized[0].numpy().transpose(1, 2, 0)


def positions_of(model):
    return numpy(model.get_layer("position_embedding").positions)


@pytest.mark.parametrize(("case", "prefix"), [("deit", 1), ("deit_distilled", 2), ("deit3", 0),
                                              ("cait", 0)])  # fmt: skip
def test_positions_of_square_images_for_images_that_are_not_square(case, prefix):
    model = create_model(**values(case, image_size=(32, 72)), weights=DATA / f"{case}.safetensors")
    held = tensors(case)["pos_embed"]
    received = positions_of(model)
    np.testing.assert_array_equal(received[:, :prefix], held[:, :prefix])
    expected = pytorch_resize(held[0, prefix:].reshape(6, 6, -1), (4, 9))
    assert np.abs(received[0, prefix:].reshape(4, 9, -1) - expected).max() <= 1e-6


@pytest.mark.parametrize("size", [(32, 72), (24, 40), (48, 48)])
def test_our_files_hold_their_grid(size, tmp_path):
    """4×9 patches are as many as 6×6."""
    model = create_model(**values("deit", image_size=size))
    save_safetensors(model, tmp_path / "a.safetensors")
    twin = create_model(**values("deit", image_size=size), weights=tmp_path / "a.safetensors")
    np.testing.assert_array_equal(positions_of(twin), positions_of(model))
    square = create_model(**values("deit"), weights=tmp_path / "a.safetensors")
    grid = (size[0] // 8, size[1] // 8)
    expected = resize_positions(positions_of(model), grid, (6, 6))
    np.testing.assert_array_equal(positions_of(square), expected)


def save_without_metadata(model, path):
    """Writes a file as others would."""
    from safetensors.numpy import load_file

    save_safetensors(model, path)
    save_file(load_file(path), path)


def test_positions_that_are_not_a_square(tmp_path):
    path = tmp_path / "a.safetensors"
    model = create_model(**values("deit", image_size=(24, 40)))
    save_without_metadata(model, path)
    same = create_model(**values("deit", image_size=(24, 40)), weights=path)
    np.testing.assert_array_equal(positions_of(same), positions_of(model))
    with pytest.raises(InputError, match=r"pos_embed \(1, 16, 48\).*6×6") as error:
        create_model(**values("deit"), weights=path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("grid", ["[-6, -6]", "[6.0, 6.0]", '["a", "b"]', "[true, 36]", "[36]"])
def test_an_invalid_grid_is_ignored(grid, tmp_path):
    """Others may use the same key for something else."""
    held = tensors("deit")
    save_file(held, tmp_path / "a.safetensors", {"patch_grid": grid})
    model = create_model(**values("deit"), weights=tmp_path / "a.safetensors")
    np.testing.assert_array_equal(positions_of(model), held["pos_embed"])


@pytest.mark.parametrize("length", [0, 1])
def test_fewer_positions_than_tokens_cannot_be_resized(length, tmp_path):
    held = {**tensors("deit_distilled"), "pos_embed": np.zeros((1, length, 48), "float32")}
    save_file(held, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=rf"pos_embed \(1, {length}, 48\).*6×6"):
        create_model(**values("deit_distilled"), weights=tmp_path / "a.safetensors")


def test_resmlp_cannot_be_loaded_for_another_size():
    message = r"blocks\.0\.attn\.weight.*\(36, 36\).*resmlp_12_224.*\(81, 81\)"
    with pytest.raises(InputError, match=message) as error:
        create_model(**values("resmlp", image_size=72), weights=DATA / "resmlp.safetensors")
    assert "\n" not in str(error.value)


def test_a_cross_patch_bias_of_another_rank(tmp_path):
    held = {**tensors("resmlp"), "blocks.0.attn.bias": np.array(1, "float32")}
    save_file(held, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"blocks\.0\.attn\.bias \(\), the model's is \(36,\)"):
        create_model(**values("resmlp"), weights=tmp_path / "a.safetensors")
