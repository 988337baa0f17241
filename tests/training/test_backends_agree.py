"""From the same weights, the three backends train to the same weights."""

import pathlib
import sys

import numpy as np
import pytest
from processes import TESTS, end_all, start

SCRIPT = pathlib.Path(__file__).with_name("backend_steps.py")


@pytest.mark.slow
def test_five_steps_of_sgd_give_the_same_weights(tmp_path, monkeypatch):
    paths = {name: tmp_path / f"{name}.npz" for name in ("jax", "torch")}
    processes = [start(SCRIPT, path, backend=name) for name, path in paths.items()]
    monkeypatch.setattr(sys, "path", [str(TESTS / "objectives"), *sys.path])
    from backend_steps import train

    expected = train()
    end_all(processes)
    moved = [
        np.abs(expected[name] - expected[name.replace("weight", "start")]).max()
        for name in expected
        if name.startswith("weight")
    ]
    assert np.median(moved) > 1e-2
    for backend, path in paths.items():
        found = np.load(path)
        assert set(found.files) == set(expected)
        for name, value in expected.items():
            tolerance = 0 if name.startswith("start") else 1e-4
            np.testing.assert_allclose(
                found[name], value, atol=tolerance, rtol=0, err_msg=f"{backend} {name}"
            )
