"""The script that makes the acceptance data gives the committed files."""

import shutil

import numpy as np
import pytest
import torch
from make_data import DATA, NESTED, make


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """The files that come from the authors' code; the others are made from them."""
    folder = tmp_path_factory.mktemp("originals")
    for path in DATA.iterdir():
        if path.suffix in (".json", ".npz", ".safetensors"):
            shutil.copyfile(path, folder / path.name)
    return folder


def test_the_committed_files_are_reproduced(originals, tmp_path):
    make(originals, tmp_path)
    committed = {path.name for path in DATA.iterdir()} - {"README.md"}
    assert {path.name for path in tmp_path.iterdir()} == committed
    nested = {f"{case}_nested.pth" for case in NESTED}
    for name in committed - nested:
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes(), name
    for name in nested:
        # Other releases of PyTorch may write the same tensors in other bytes.
        made, expected = (
            torch.load(folder / name, weights_only=True)["model"] for folder in (tmp_path, DATA)
        )
        assert list(made) == list(expected)
        assert all(torch.equal(made[key], expected[key]) for key in expected)


@pytest.mark.parametrize("name", ["images", "logits"])
def test_originals_of_another_shape_are_an_error(originals, name, tmp_path):
    folder = tmp_path / "changed"
    shutil.copytree(originals, folder)
    arrays = dict(np.load(folder / "cait.npz"))
    np.savez(folder / "cait.npz", **{**arrays, name: arrays[name][:, :-1]})
    with pytest.raises(SystemExit, match=r"cait\.npz"):
        make(folder, tmp_path / "output")
